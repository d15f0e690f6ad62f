//! Between the Controller and the switch: commands go down as calls, what the switch notices comes up as events.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use data_encoding::HEXLOWER;
use tokio::sync::{mpsc, oneshot};

use crate::control::ports::PortReport;
use crate::control::{Controller, EventKind, OpenedDevice, Ports};
use crate::datapath::{Answered, Fabric, SubnetIndex};
use crate::mapping::{InterfaceIndex, PortId};
use crate::switch::port::PortDevice;
use crate::switch::{AttachOptions, Switch, SwitchEvent};

/// The running switch, as the Controller wants to see it.
pub(super) struct SwitchPorts {
    pub(super) switch: Arc<Switch>,
    pub(super) fabric: Arc<Fabric>,
    pub(super) options: AttachOptions,
}

impl Ports for SwitchPorts {
    fn attach(&self, interface: InterfaceIndex, device: OpenedDevice) -> Result<PortId, String> {
        match device {
            // The Controller tells the fabric of the port as soon as it has the number.
            OpenedDevice::Device(device) => self
                .switch
                .attach(interface, device, self.options, |_| {})
                .map_err(|error| error.to_string()),
            OpenedDevice::Memory(_) => {
                Err("this switch runs in threads of its own; a cable in memory needs one that is driven by hand".into())
            }
        }
    }

    fn detach(&self, port: PortId) {
        // Closing a TAP takes the kernel some 20 ms, in which nobody needs to wait for it.
        let device: Option<PortDevice> = self.switch.detach(port).map(|(device, _)| device);
        drop(device);
    }

    fn announce(&self, subnet: SubnetIndex, address: IpAddr, owner: InterfaceIndex) {
        let view = self.fabric.view_full();
        // An interface that was deleted a moment ago owns nothing that could be announced.
        let Some(mac) = view.interface(owner).map(|interface| interface.mac) else {
            return;
        };
        self.switch.announce(subnet, address, mac, None);
    }

    fn reports(&self) -> Vec<PortReport> {
        self.switch
            .ports()
            .into_iter()
            .map(|status| {
                let counters = &status.counters;
                PortReport {
                    port: status.port,
                    interface: status.interface,
                    device: status.name.clone(),
                    received_frames: counters.received.frames,
                    received_bytes: counters.received.bytes,
                    sent_frames: counters.sent.frames,
                    sent_bytes: counters.sent.bytes,
                    answered: Answered::ALL
                        .iter()
                        .map(|kind| (*kind, counters.answered(*kind)))
                        .collect(),
                    dropped: counters.drops().collect(),
                    other: vec![
                        ("sent_merged", counters.sent_merged),
                        ("unasked", counters.unasked),
                        ("refused", counters.refused),
                    ],
                }
            })
            .collect()
    }
}

/// Hands on what the switch notices, until it is dropped.
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
                                Some(event) => hand_on(&controller, event),
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
        // A pump that has ended by itself hears nothing; that is as good.
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
            controller.port_lost(interface, port, "the device is gone".to_owned());
        }
        SwitchEvent::Dropped(frame) => {
            controller.publish(EventKind::FrameDropped {
                interface_id: controller.interface_at(frame.interface),
                port: frame.port.get(),
                reason: frame.reason.name().to_owned(),
                count: frame.untold + 1,
                frame: Some(HEXLOWER.encode(&frame.head)),
            });
        }
    }
}
