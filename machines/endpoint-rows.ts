/** What an endpoint wants the world to be, as a pure function of its snapshot. */
import { addrKey, type RouteRow, type Row, routeKey } from '../state/tables.ts';
import { timerRow } from './backoff.ts';
import { hostCidr } from './cidr.ts';
import type { EndpointSnapshot } from './endpoint.ts';
import { type EndpointContext, graceTimer, isHealth } from './endpoint-context.ts';
import { namedPortsOf } from './endpoint-subject.ts';
import { endpointFlags, policyRevisionOf } from './policy-facts.ts';

interface Family {
  address: string;
  gateway: string;
  anywhere: string;
}

function families({ ipv4, ipv6, gateway4, gateway6 }: EndpointContext): Family[] {
  return [
    { address: ipv4, gateway: gateway4, anywhere: '0.0.0.0/0' },
    { address: ipv6, gateway: gateway6, anywhere: '::/0' },
  ].filter(({ address }) => address !== '');
}

export function rows({ context, value }: EndpointSnapshot): Row[] {
  switch (value) {
    case 'created':
    case 'identity':
    case 'awaiting-policy':
      return [...refusals(context), ...deadline(context)];
    case 'addressed':
      return [...wiring(context, 'regenerating'), ...refusals(context)];
    case 'failing':
      return [
        ...wiring(context, 'not-ready'),
        ...refusals(context),
        timerRow(context.key, 'wake', context.backoff.dueMs),
      ];
    case 'programmed':
      return [...wiring(context, stateNow(context)), ...refusals(context), ...answers(context)];
    case 'ready':
      return [...wiring(context, stateNow(context)), ...refusals(context)];
    case 'forgotten':
      return refusals(context);
    case 'rejected':
    case 'leaving':
      return [...remembered(context), ...refusals(context)];
    case 'lingering':
      return [...remembered(context), ...refusals(context), timerRow(context.key, 'wake', context.backoff.dueMs)];
    case 'departed':
      return [...refusals(context), ...context.requests.map((key): Row => ({ table: 'cni.replies', key, value: {} }))];
    case 'gone':
      return [];
  }
}

/** What is in force may be less, or more, than policies say now. */
const stateNow = ({ policyProblem }: EndpointContext): EndpointState => (policyProblem ? 'not-ready' : 'ready');

function deadline({ key, deadlineMs }: EndpointContext): Row[] {
  return deadlineMs > 0 ? [timerRow(key, 'wake', deadlineMs)] : [];
}

function refusals({ refused }: EndpointContext): Row[] {
  return Object.entries(refused).map(([key, error]) => ({ table: 'cni.replies', key, value: { error } }));
}

/** The answer to CNI ADD; its shape is `CniAddResult` of `cluster/cni-types.ts`. */
function answers(context: EndpointContext): Row[] {
  const { link, mac, hostMac, mtu, routeMtu = mtu } = context;
  const all = families(context);
  const result = {
    link,
    mac,
    hostMac,
    mtu,
    ips: all.map(({ address, gateway }) => ({ address: hostCidr(address), gateway })),
    routes: all.map(({ anywhere, gateway }) => ({ dst: anywhere, gw: gateway, mtu: routeMtu })),
  };
  return context.requests.map((key) => ({ table: 'cni.replies', key, value: { result } }));
}

/** Link, addresses, routes, map entries and programs; nothing while the datapath is not known. */
function wiring(context: EndpointContext, state: EndpointState): Row[] {
  const { agent, link, mac, hostMac, mtu, netns, ifname, device = 'veth' } = context;
  if (!agent) return [];
  const build = agent.datapathBuild;
  return [
    local(context),
    { table: 'links', key: link, value: { kind: device, mac: hostMac, mtu, peer: { name: ifname, mac, netns } } },
    ...families(context).flatMap((family) => addressing(context, family)),
    {
      table: 'attachments',
      key: `${link}/ingress`,
      value: { dev: link, direction: 'ingress', program: 'from_endpoint', build },
    },
    {
      table: 'attachments',
      key: `${link}/egress`,
      value: { dev: link, direction: 'egress', program: 'to_endpoint', build },
    },
    ...announcement(context, state),
    ...grace(context),
  ];
}

function grace({ key, next }: EndpointContext): Row[] {
  return next ? [{ table: 'timers', key: graceTimer(key), value: { dueMs: next.dueMs } }] : [];
}

function addressing(context: EndpointContext, { address, gateway, anywhere }: Family): Row[] {
  const { netns, ifname, link, mac, hostMac, mtu, routeMtu = mtu, identity, endpointId, flags } = context;
  const addr = { netns, dev: ifname, address: hostCidr(address) };
  const out: RouteRow = { netns, type: 'unicast', dst: anywhere, dev: ifname, via: gateway, src: '', mtu: routeMtu };
  const back: RouteRow = { netns: '', type: 'unicast', dst: hostCidr(address), dev: link, via: '', src: '', mtu };
  return [
    { table: 'addrs', key: addrKey(addr), value: addr },
    { table: 'routes', key: routeKey(out), value: out },
    { table: 'routes', key: routeKey(back), value: back },
    {
      table: 'bpf.ipcache',
      key: hostCidr(address),
      value: { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 },
    },
    {
      table: 'bpf.endpoints',
      key: address,
      value: { link, identity, id: endpointId, flags, policyRevision: policyRevisionOf(flags), mac, hostMac },
    },
  ];
}

/** Only what has an address can have left rows. */
function remembered(context: EndpointContext): Row[] {
  return context.ipv4 || context.ipv6 ? [local(context)] : [];
}

function local(context: EndpointContext): Row {
  const { endpointId, containerId, netns, ifname, link, mac, podNamespace, podName, podUid } = context;
  const { ipv4, ipv6, identity, labels, flags, gateway4, gateway6, mtu, routeMtu = mtu, device } = context;
  const value = {
    endpointId,
    containerId,
    netns,
    ifname,
    link,
    mac,
    podNamespace,
    podName,
    podUid,
    ipv4,
    ipv6,
    identity,
    labels,
    flags,
    gateway4,
    gateway6,
    mtu,
    // Absent where nothing is wrapped, as before there were many nodes.
    ...(routeMtu !== mtu && { routeMtu }),
    ...(device && { device }),
  };
  return { table: 'local.endpoints', key: `${containerId}/${ifname}`, value };
}

/** As Cilium calls them. */
type EndpointState = 'ready' | 'regenerating' | 'not-ready';

/** The CiliumEndpoint that tells the cluster of this endpoint; it goes with its pod. Of the health endpoint the CiliumNode tells. */
function announcement(context: EndpointContext, state: EndpointState): Row[] {
  const { nodeAddress, encryptKey, podGone } = context;
  if (podGone) return [];
  // What was said before the start stays until this node is known.
  if (nodeAddress === '' || isHealth(context)) return [];
  const { podNamespace, podName, podUid, endpointId, identity, labels, ipv4, ipv6, containerId, ifname } = context;
  const namedPorts = context.pod ? namedPortsOf(context.pod) : [];
  const owner = podUid ? { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: podName, uid: podUid }] } : {};
  const row: Row = {
    table: 'kube.objects',
    key: `ciliumendpoints/${podNamespace}/${podName}`,
    value: {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumEndpoint',
      metadata: { name: podName, namespace: podNamespace, ...owner },
      status: {
        id: endpointId,
        identity: { id: identity, labels },
        networking: {
          addressing: [{ ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) }],
          node: nodeAddress,
        },
        ...(encryptKey > 0 && { encryption: { key: encryptKey } }),
        ...(namedPorts.length > 0 && { 'named-ports': namedPorts }),
        'external-identifiers': {
          'container-id': containerId,
          'cni-attachment-id': `${containerId}:${ifname}`,
          'k8s-namespace': podNamespace,
          'k8s-pod-name': podName,
          'pod-name': `${podNamespace}/${podName}`,
        },
        policy: { ingress: enforcementOf(context, 'enforceIngress'), egress: enforcementOf(context, 'enforceEgress') },
        state,
      },
    },
  };
  return [row];
}

function enforcementOf({ flags }: EndpointContext, flag: 'enforceIngress' | 'enforceEgress'): object {
  const enforcing = (flags & endpointFlags[flag]) !== 0;
  const isAudit = (flags & endpointFlags.audit) !== 0;
  return { enforcing, state: !enforcing ? 'non-enforcing' : isAudit ? 'audit' : 'enforcing' };
}
