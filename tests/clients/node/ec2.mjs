// Calls the EC2 API by the AWS SDK for Node, which has a serializer and a parser of its own, and compares what it reads with the XML.
//
//     node ec2.mjs URL ACTION...
//
// The actions are those that read. Prints a line for each that is wrong, then how many there were.

import * as ec2 from "@aws-sdk/client-ec2";

const [url, ...actions] = process.argv.slice(2);
const client = new ec2.EC2Client({
  endpoint: url,
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
  maxAttempts: 1,
});
// The XML of the latest answer, as it was sent.
let xml = "";
client.middlewareStack.add(
  (next) => async (args) => {
    const result = await next(args);
    const chunks = [];
    for await (const chunk of result.response.body) chunks.push(chunk);
    const { Readable } = await import("node:stream");
    const body = Buffer.concat(chunks);
    xml = body.toString();
    result.response.body = Readable.from([body]);
    return result;
  },
  { step: "deserialize", priority: "low", name: "keepXml" },
);
const send = (name, input) => client.send(new ec2[`${name}Command`](input));

// A network in which every list has something.
const { Vpc } = await send("CreateVpc", { CidrBlock: "10.60.0.0/16" });
const vpc = Vpc.VpcId;
const subnet = (await send("CreateSubnet", { VpcId: vpc, CidrBlock: "10.60.1.0/24" })).Subnet.SubnetId;
const tags = [{ Key: "a<b>&\"c'", Value: " ü " }];
const group = (await send("CreateSecurityGroup", { VpcId: vpc, GroupName: "node", Description: "a & b" })).GroupId;
await send("AuthorizeSecurityGroupIngress", {
  GroupId: group,
  IpPermissions: [{ IpProtocol: "tcp", FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: "0.0.0.0/0", Description: "all" }] }],
});
const eni = (await send("CreateNetworkInterface", { SubnetId: subnet, Groups: [group], SecondaryPrivateIpAddressCount: 3 }))
  .NetworkInterface.NetworkInterfaceId;
await send("CreateTags", { Resources: [eni, vpc], Tags: tags });
const igw = (await send("CreateInternetGateway", {})).InternetGateway.InternetGatewayId;
await send("AttachInternetGateway", { InternetGatewayId: igw, VpcId: vpc });
const table = (await send("CreateRouteTable", { VpcId: vpc })).RouteTable.RouteTableId;
await send("CreateRoute", { RouteTableId: table, DestinationCidrBlock: "0.0.0.0/0", GatewayId: igw });
const address = (await send("AllocateAddress", { Domain: "vpc" })).AllocationId;
await send("AssociateAddress", { AllocationId: address, NetworkInterfaceId: eni });
const list = (await send("CreateManagedPrefixList", { PrefixListName: "n", MaxEntries: 2, AddressFamily: "IPv4", Entries: [{ Cidr: "10.9.0.0/16" }] }))
  .PrefixList.PrefixListId;
const other = (await send("CreateVpc", { CidrBlock: "10.61.0.0/16" })).Vpc.VpcId;
await send("CreateVpcPeeringConnection", { VpcId: vpc, PeerVpcId: other });
await send("CreateEgressOnlyInternetGateway", { VpcId: vpc });
await send("CreateNatGateway", { SubnetId: subnet, ConnectivityType: "private" });
const instance = (await send("RunInstances", { ImageId: "ami-0123456789abcdef0", MinCount: 1, MaxCount: 1, SubnetId: subnet }))
  .Instances[0].InstanceId;
await ec2.waitUntilInstanceRunning({ client, maxWaitTime: 60, minDelay: 1 }, { InstanceIds: [instance] });

// What actions need that take no empty request.
const NEEDED = {
  DescribeInstanceAttribute: { InstanceId: instance, Attribute: "instanceType" },
  DescribeNetworkInterfaceAttribute: { NetworkInterfaceId: eni, Attribute: "description" },
  DescribeVpcAttribute: { VpcId: vpc, Attribute: "enableDnsSupport" },
  DescribeStaleSecurityGroups: { VpcId: vpc },
  DescribeAddressesAttribute: { AllocationIds: [address], Attribute: "domain-name" },
  GetManagedPrefixListAssociations: { PrefixListId: list },
  GetManagedPrefixListEntries: { PrefixListId: list },
};

// Every text between two tags of the XML, and every value that the SDK has read: as sorted lists they are equal.
const decode = (text) => text.replace(/&(lt|gt|amp|quot|apos|#(\d+)|#x([0-9a-fA-F]+));/g, (_, name, number, hex) =>
  number ? String.fromCodePoint(number) : hex ? String.fromCodePoint(parseInt(hex, 16)) : { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" }[name]);
const sent = (text) => [...text.matchAll(/<(\w+)>([^<]+)<\/\1>/g)].filter(([, name]) => name !== "requestId").map((match) => decode(match[2]));
function* read(value) {
  if (value instanceof Date) yield value.toISOString().replace(/\.\d+Z$/, "");
  else if (value instanceof Uint8Array) yield Buffer.from(value).toString("base64");
  else if (Array.isArray(value)) for (const inner of value) yield* read(inner);
  else if (value && typeof value === "object") for (const inner of Object.values(value)) yield* read(inner);
  else if (value !== undefined && value !== null && value !== "") yield String(value);
}
const plain = (text) => (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text) ? text.replace(/(\.\d+)?Z$/, "") : /^-?\d+\.0+$/.test(text) ? String(Number(text)) : text);

let failures = 0;
for (const action of actions) {
  try {
    const { $metadata, ...answer } = await send(action, NEEDED[action] ?? {});
    const [whole, got] = [sent(xml).map(plain).sort(), [...read(answer)].map(plain).sort()];
    if (whole.join("\n") !== got.join("\n")) {
      const lost = whole.filter((text) => !got.includes(text)).slice(0, 5);
      throw new Error(`sent ${whole.length} values, read ${got.length}; not read: ${JSON.stringify(lost)}`);
    }
    if (/^Describe/.test(action) && !whole.length) console.log(action, "has nothing to read");
  } catch (error) {
    failures += 1;
    console.log(action, error.name, error.message);
  }
}
console.log(actions.length, "actions,", failures, "failures");
process.exit(failures ? 1 : 0);
