/** Filters of `observe` and, beside each, what it means, said in another way: for flows of a cluster with a client and a server. */
import type { Flow } from '../../observe/hubble/types.ts';

type Case = [words: string, is: (flow: Flow) => boolean];
type Facts = Record<'cluster' | 'identity' | 'uuid' | 'link', string> & Record<'server' | 'from', string | undefined>;

export function filters({ cluster, server, from, identity, uuid, link }: Facts): Case[] {
  const isOf = (label: string) => (flow: Flow) => flow.source.labels.includes(label);
  const either = (flow: Flow, test: (end: Flow['source']) => boolean): boolean =>
    test(flow.source) || test(flow.destination);
  const ports = ({ l4 }: Flow) => l4?.TCP ?? l4?.UDP ?? l4?.SCTP;
  return [
    ['--namespace demo', (flow) => either(flow, ({ namespace, pod_name }) => namespace === 'demo' && pod_name !== '')],
    ['--pod demo/serv', (flow) => either(flow, ({ pod_name }) => pod_name === 'server')],
    ['--from-pod demo/client', ({ source }) => source.pod_name === 'client'],
    ['--from-label app=client', isOf('k8s:app=client')],
    ['--to-label app', ({ destination }) => destination.labels.some((label) => label.startsWith('k8s:app='))],
    ['--from-label reserved:host', isOf('reserved:host')],
    [`--from-identity ${identity}`, ({ source }) => source.identity === Number(identity)],
    ['--identity host', (flow) => either(flow, (end) => end.identity === 1)],
    ['--verdict dropped', ({ verdict }) => verdict === 'DROPPED'],
    ['--drop-reason-desc policy-denied', ({ drop_reason_desc }) => drop_reason_desc === 'POLICY_DENIED'],
    ['--port 8080', (flow) => ports(flow)?.source_port === 8080 || ports(flow)?.destination_port === 8080],
    ['--to-port 8080', (flow) => ports(flow)?.destination_port === 8080],
    ['--protocol tcp', ({ l4 }) => l4?.TCP !== undefined],
    ['--protocol udp', ({ l4 }) => l4?.UDP !== undefined],
    ['--protocol icmpv4', ({ l4 }) => l4?.ICMPv4 !== undefined],
    ['--protocol icmpv6', ({ l4 }) => l4?.ICMPv6 !== undefined],
    [`--to-ip ${server}`, ({ IP }) => IP?.destination === server],
    [`--ip ${server}`, ({ IP }) => IP?.destination === server || IP?.source === server],
    ['--from-ip 10.0.0.0/8', ({ IP }) => IP?.source.startsWith('10.') === true],
    [`--from-ip ${from}/32`, ({ IP }) => IP?.source === from],
    ['--ipv6', ({ IP }) => IP?.ipVersion === 'IPv6'],
    ['--snat-ip 172.28.0.0/16', ({ IP }) => IP?.source_xlated?.startsWith('172.28.') === true],
    ['--to-service demo/web', ({ destination_service }) => destination_service?.name === 'web'],
    ['--to-workload Pod/server', ({ destination }) => destination.workloads?.[0]?.name === 'server'],
    ['--type policy-verdict', ({ event_type }) => event_type.type === 5],
    ['--type trace-sock', ({ Type }) => Type === 'SOCK'],
    ['--type trace:to-endpoint', ({ trace_observation_point }) => trace_observation_point === 'TO_ENDPOINT'],
    ['--traffic-direction egress', ({ traffic_direction }) => traffic_direction === 'EGRESS'],
    ['--tcp-flags syn,ack', ({ l4 }) => l4?.TCP?.flags?.SYN === true && l4.TCP.flags.ACK === true],
    [`--node-name ${cluster}/node-*`, ({ node_name }) => node_name === `${cluster}/node-1`],
    ['--node-label kubernetes.io/hostname=node-1', ({ node_name }) => node_name === `${cluster}/node-1`],
    [`--from-cluster ${cluster}`, ({ source }) => source.cluster_name === cluster],
    ['--is-reply', (flow) => flow.is_reply?.value === true],
    [`--uuid ${uuid}`, (flow) => flow.uuid === uuid],
    [`--interface ${link}`, (flow) => flow.interface?.name === link],
    ['--cel-expression _flow.verdict==Verdict.DROPPED', ({ verdict }) => verdict === 'DROPPED'],
  ];
}
