//! Turns reports of the switch into events of the Controller: lost ports and dropped frames.

use std::thread::JoinHandle;

use data_encoding::HEXLOWER;
use tokio::sync::{mpsc, oneshot};

use crate::contain;
use crate::control::explain::in_sentences;
use crate::control::{Controller, EventKind};
use crate::switch::SwitchEvent;

/// Forwards the switch's reports until it is dropped.
pub(super) struct EventPump {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EventPump {
    pub(super) fn start(controller: Controller, mut events: mpsc::Receiver<SwitchEvent>) -> std::io::Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let thread = std::thread::Builder::new()
            .name("switch-events".into())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            biased;
                            _ = &mut stopped => return,
                            event = events.recv() => match event {
                                Some(event) => {
                                    contain::once("the events of the switch", || {
                                        contain::site("switch-events");
                                        hand_on(&controller, event);
                                    });
                                }
                                None => return,
                            },
                        }
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for EventPump {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that hands on the switch's events panicked");
        }
    }
}

fn hand_on(controller: &Controller, event: SwitchEvent) {
    match event {
        SwitchEvent::PortLost { port, interface } => {
            controller.port_lost(interface, port, "the device is gone");
        }
        SwitchEvent::Dropped(frame) => {
            controller.publish(EventKind::FrameDropped {
                interface_id: controller.interface_at(frame.interface),
                port: frame.port.get(),
                reason: frame.reason.name().to_owned(),
                count: frame.unreported + 1,
                rules: in_sentences(&frame.filtered),
                frame: Some(HEXLOWER.encode(&frame.head)),
            });
        }
    }
}
