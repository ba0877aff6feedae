/** What a service wants the world to be, as pure functions of what it knows. */
import type { Row } from '../state/tables.ts';
import { timerRow } from './backoff.ts';
import { fnv1a } from './naming.ts';
import { type ServiceContext, setOf } from './service-context.ts';
import { setIn, sliceIn } from './service-groups.ts';
import { type Backend, backendRowsOf, type SliceFacts } from './service-slices.ts';
import { CONFLICT } from './service-spec.ts';

/** All rows but those in groups. */
export function serviceRows(context: ServiceContext, isFailing: boolean): Row[] {
  const { groups, slices, sets, key, backoff } = context;
  const wanted: Row[] = [];
  if (!groups.isBig) {
    wanted.push(...allBackendRows(context, Object.values(slices)));
    for (const name of Object.keys(sets)) wanted.push(...setRows(context, name));
  }
  wanted.push(...frontendRows(context), ...healthRows(context), ...conflictRows(context));
  if (isFailing) wanted.push(timerRow(key, 'retry', backoff.dueMs));
  return wanted;
}

export function groupRows(context: ServiceContext, group: string): Row[] {
  const set = setIn(group);
  if (set !== undefined) return setRows(context, set);
  const name = sliceIn(group) ?? '';
  const slice = context.slices[name];
  if (!slice) return [];
  return backendRows(context, slice).filter(({ key }) => (context.groups.holders[key] ?? name) === name);
}

/** Of a backend that several slices name one row. */
function allBackendRows(context: ServiceContext, slices: readonly SliceFacts[]): readonly Backend[] {
  const [only] = slices;
  if (only && slices.length === 1) return backendRows(context, only);
  const seen = new Set<string>();
  return slices.flatMap((slice) => backendRows(context, slice).filter(({ key }) => isFirst(seen, key)));
}

function isFirst(seen: Set<string>, key: string): boolean {
  const { size } = seen;
  return seen.add(key).size > size;
}

function backendRows({ node }: ServiceContext, slice: SliceFacts): readonly Backend[] {
  return (slice.family === 'IPv4' ? node?.ipv4 : node?.ipv6) ? backendRowsOf(slice) : [];
}

function setRows({ sets, spec, node }: ServiceContext, key: string): Row[] {
  const set = sets[key];
  if (!set || !spec || !node) return [];
  const maglevSize = set.external ? node.maglevSize : 0;
  const value = { affinityTimeout: spec.affinityTimeout, backends: set.backends, maglevSize };
  return [{ table: 'bpf.backend-sets', key, value }];
}

/** Of the last context with these frontends: what else they depend on changes seldom, slices all the time. */
const said = new WeakMap<
  ServiceContext['frontends'],
  Pick<ServiceContext, 'lost' | 'spec' | 'node'> & { rows: Row[] }
>();

function frontendRows(context: ServiceContext): Row[] {
  const { frontends, lost, spec, node } = context;
  const known = said.get(frontends);
  if (known && known.lost === lost && known.spec === spec && known.node === node) return known.rows;
  const rows = frontendRowsOf(context);
  said.set(frontends, { lost, spec, node, rows });
  return rows;
}

function frontendRowsOf(context: ServiceContext): Row[] {
  const { frontends, lost, spec, node, service } = context;
  if (!spec || !node) return [];
  return frontends
    .filter(({ key }) => !lost[key])
    .flatMap((frontend): Row[] => {
      const { key, type, port } = frontend;
      const ranges = type === 'LoadBalancer' || type === 'ExternalIP' ? spec.sourceRanges : undefined;
      const value = {
        type,
        service,
        portName: port.name,
        internalSet: setOf(context, frontend, 'inside'),
        externalSet: setOf(context, frontend, 'outside'),
        externalLocal: type !== 'ClusterIP' && spec.externalLocal,
        sourceRanges: ranges !== undefined,
        forwarding: node.forwarding,
      };
      return [
        { table: 'bpf.frontends', key, value },
        ...(ranges ?? [])
          .filter((cidr) => cidr.includes(':') === (frontend.family === 'IPv6'))
          .map(
            (cidr): Row => ({
              table: 'bpf.source-ranges',
              key: `${key}|${cidr}`,
              value: { frontend: key, cidr },
            }),
          ),
      ];
    });
}

function healthRows({ spec, node, service, localEndpoints }: ServiceContext): Row[] {
  if (!spec?.healthPort || !node?.healthPorts) return [];
  const [namespace = '', name = ''] = service.split('/');
  return [
    { table: 'health.checks', key: String(spec.healthPort), value: { namespace, service: name, localEndpoints } },
  ];
}

/**
 * A Kubernetes event for as long as another has what this one asks for, and a condition of the Service, which is taken back
 * afterwards: by an agent that has been started since, too, since the Service itself tells of it.
 */
function conflictRows({ lost, lostAtMs, service, spec }: ServiceContext): Row[] {
  const parts = Object.entries(lost)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, { owner, type }]) => `${key} is served for ${owner} (${type})`);
  if (!spec) return [];
  const [namespace = '', name = ''] = service.split('/');
  if (parts.length === 0) {
    const message = 'all its addresses and ports are served for it';
    return spec.saysConflict
      ? [conditionRow(namespace, name, { status: 'False', reason: 'Served', message, atMs: lostAtMs })]
      : [];
  }
  const message = `${parts.join(', ')}: a cluster address goes before others, and an older service before a younger`;
  const time = new Date(lostAtMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const metadata = { name: `${name}.${fnv1a(message)}`, namespace };
  return [
    {
      table: 'kube.objects',
      key: `events/${namespace}/${metadata.name}`,
      value: {
        apiVersion: 'v1',
        kind: 'Event',
        metadata,
        involvedObject: { apiVersion: 'v1', kind: 'Service', name, namespace, uid: spec.uid },
        type: 'Warning',
        reason: 'FrontendConflict',
        message: message.slice(0, MESSAGE_CHARACTERS_MAX),
        source: { component: 'axoneme-agent' },
        firstTimestamp: time,
        lastTimestamp: time,
        count: 1,
      },
    },
    conditionRow(namespace, name, { status: 'True', reason: 'ServedForAnother', message, atMs: lostAtMs }),
  ];
}

interface Said {
  status: 'True' | 'False';
  reason: string;
  message: string;
  atMs: number;
}

function conditionRow(namespace: string, name: string, { message, atMs, ...said }: Said): Row {
  const condition = {
    type: CONFLICT,
    ...said,
    message: message.slice(0, MESSAGE_CHARACTERS_MAX),
    lastTransitionTime: new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
  return {
    table: 'kube.status',
    key: `services/${namespace}/${name}`,
    value: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      status: { conditions: [condition] },
    },
  };
}

/** Of an Event, says the API server; a condition may have more. */
const MESSAGE_CHARACTERS_MAX = 1_024;
