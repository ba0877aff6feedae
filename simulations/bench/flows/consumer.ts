/**
 * The agent's reading of the ring buffer alone: `consumer.ts PINS raw|flows`. Prints, for each line of its input, what it has read since the
 * last one: records, processor time, memory and losses, as JSON.
 *
 * - raw: records are counted and no more. flows: into the ring of flows, with names of 100 pods, 1,000 services.
 */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { EMPTY, Subject } from 'rxjs';
import { families, identities } from '../../../bpf/test/harness.ts';
import { eventLayout } from '../../../datapath/event-layout.ts';
import { EventDecoder, eventBlocks } from '../../../datapath/events.ts';
import { objectPath } from '../../../datapath/loader.ts';
import { eventsLost } from '../../../datapath/metrics.ts';
import { btfOfObject, monotonicNs, openPinnedMap } from '../../../native/index.ts';
import { startHubble } from '../../../observe/hubble/hubble.ts';
import { Origins } from '../../../observe/hubble/origins.ts';
import { Names } from '../../../observe/names.ts';
import type { Inspector, OpRecord, Transition } from '../../../reconcilers/inspect.ts';

const [pinFolder = '', mode = 'flows', socket = ''] = process.argv.slice(2);
const CAPACITY = 4095;
const PODS = 100;
const SERVICES = 1_000;

const events = openPinnedMap(join(pinFolder, 'events'));
const metrics = openPinnedMap(join(pinFolder, 'metrics'));
const blocks$ = eventBlocks(events);
let records = 0;

if (mode === 'raw') {
  blocks$.subscribe(({ offsets }) => {
    records += offsets.length - 1;
  });
} else {
  const inspector = clusterOf();
  const layout = eventLayout(btfOfObject(objectPath('datapath')), btfOfObject(objectPath('sock')));
  const hubble = await startHubble(
    { capacity: CAPACITY, socket, listen: '', tlsCert: '', tlsKey: '', tlsClientCa: '' },
    { blocks$, decoder: new EventDecoder(layout), eventsLost: () => eventsLost(metrics) },
    {
      names: new Names(inspector),
      origins: new Origins(inspector),
      clusterName: 'bench',
      nodeName: 'bench/node-1',
      version: '0',
      linkName: (index) => `lxc${index}`,
      bootedAtNs: BigInt(Date.now()) * 1_000_000n - monotonicNs(),
    },
    { agentEvents$: EMPTY, peers$: EMPTY },
  );
  Object.defineProperty(globalThis, 'hubble', { value: hubble });
  setInterval(() => {
    records = hubble.ring.next;
  }, 1).unref();
}

let before = { cpu: process.cpuUsage(), records: 0, lost: lost() };
process.stdout.write('ready\n');
createInterface({ input: process.stdin })
  .on('line', () => {
    globalThis.gc?.();
    const { user, system } = process.cpuUsage(before.cpu);
    const line = {
      records: records - before.records,
      lost: lost() - before.lost,
      cpuMs: (user + system) / 1000,
      rss: process.memoryUsage().rss,
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    before = { cpu: process.cpuUsage(), records, lost: lost() };
  })
  .on('close', () => process.exit());

function lost(): number {
  return eventsLost(metrics).reduce((sum, count) => sum + count, 0);
}

/** As much of an engine as names need. */
function clusterOf(): Inspector {
  const [v4, v6] = families;
  const endpoints = Array.from({ length: PODS }, (_, i) => ({
    podNamespace: `ns-${i % 10}`,
    podName: `pod-${i}`,
    identity: i === 0 ? identities.a : i === 1 ? identities.b : 2_000 + i,
    labels: ['k8s:app=web', `k8s:io.kubernetes.pod.namespace=ns-${i % 10}`, `k8s:pod=${i}`],
    ipv4: i === 0 ? v4.a : i === 1 ? v4.b : `10.200.0.${i}`,
    ipv6: i === 0 ? v6.a : i === 1 ? v6.b : `fd00:200::${i.toString(16)}`,
    endpointId: i + 1,
  }));
  const frontends = Array.from({ length: SERVICES }, (_, i) => ({
    key: `10.96.${i >> 8}.${i & 255}:80/TCP`,
    actual: { service: `ns-${i % 10}/service-${i}` },
  }));
  return {
    transitions$: new Subject<Transition>(),
    ops$: new Subject<OpRecord>(),
    contexts: (kind: string) => (kind === 'endpoint' ? endpoints : []),
    rows: (table: string) => (table === 'bpf.frontends' ? frontends : []),
    explain: () => undefined,
    machine: () => undefined,
  } as unknown as Inspector;
}
