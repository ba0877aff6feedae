/**
 * The log of a node of a busy cluster: Services, and EndpointSlices that change all the time as pods elsewhere come and go.
 *
 * - Made by the engine itself against a simulated kernel that never fails, one entry after another: nothing is kept but the cluster.
 * - Objects are slim, as the agent watches, and so records, them.
 * - Half of the entries are changes of slices, the other half the results of what was done about them, as in a recording of an agent.
 */
import type { ClusterEvent, KubeObject, LogEntry } from '../../cluster/events.ts';
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import { slimEndpointSlice, slimService } from '../../cluster/slim.ts';
import { watched } from '../node/api.ts';
import { facts } from '../node/world.ts';
import { ClosedLoop } from '../replay/closed-loop.ts';

export interface ServiceChurn {
  entries: number;
  services: number;
  /** Endpoints of each slice. */
  endpoints: number;
}

export const header: RecordingHeader = {
  ...{ format: 'axoneme-recording', version: 1, build: 'bench', node: facts.nodeName, config: facts },
  ...{ kernel: 'simulated', startedAt: 1_700_000_000_000, part: 1 },
};
const ORIGIN = { file: 'bench', line: 0 };

export function* serviceLog({ entries, services, endpoints }: ServiceChurn): Generator<LogEntry> {
  let made: LogEntry[] = [];
  const watcher = {
    onMoment({ entry }: { entry: LogEntry }): undefined {
      made.push(entry);
    },
  };
  const loop = new ClosedLoop(header, { watchers: [watcher] });
  let at = header.startedAt;
  function* push(source: string, event: ClusterEvent): Generator<LogEntry> {
    at += 3;
    loop.push(source, event, at, ORIGIN);
    yield* made;
    made = [];
  }
  loop.begin(header, at, ORIGIN);
  yield* push('agent', { type: 'agent.started', config: facts });
  yield* push('links', { type: 'link.upserted', link: device });
  for (const source of ['local', 'kernel', 'links'] as const) yield* push(source, { type: 'source.synced', source });
  yield* push('kube', { type: 'kube.upserted', resource: 'nodes', object: node });
  const cluster = Array.from({ length: services }, (_, number) => new Shop(number, endpoints));
  for (const shop of cluster) {
    yield* push('kube', { type: 'kube.upserted', resource: 'services', object: slimService(shop.service()) });
    yield* push('kube', { type: 'kube.upserted', resource: 'endpointslices', object: slimEndpointSlice(shop.slice()) });
  }
  for (const resource of watched) yield* push('kube', { type: 'source.synced', source: `kube/${resource}` });
  for (let turn = 0; loop.seq < entries; turn++) {
    const shop = cluster[(turn * 7) % services] as Shop;
    shop.change(turn);
    yield* push('kube', { type: 'kube.upserted', resource: 'endpointslices', object: slimEndpointSlice(shop.slice()) });
  }
}

/** A service with one slice; a pod of it leaves, and another comes. */
class Shop {
  readonly #number: number;
  readonly #pods: { ip: string; ready: boolean }[];
  #version = 1;
  #born = 0;

  constructor(number: number, endpoints: number) {
    this.#number = number;
    this.#pods = Array.from({ length: endpoints }, () => this.#pod());
  }

  #pod(): { ip: string; ready: boolean } {
    const n = this.#born++ % 200;
    return { ip: `10.${1 + (this.#number >> 8)}.${this.#number & 255}.${1 + n}`, ready: true };
  }

  change(turn: number): void {
    this.#version++;
    const pod = this.#pods[0];
    if (turn % 2 === 0 && pod) pod.ready = !pod.ready;
    else {
      this.#pods.shift();
      this.#pods.push(this.#pod());
    }
  }

  service(): KubeObject {
    const clusterIP = `10.96.${this.#number >> 8}.${this.#number & 255}`;
    return {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: `shop-${this.#number}`, namespace: 'bench', uid: `s-${this.#number}`, resourceVersion: '1' },
      spec: {
        ...{
          type: 'ClusterIP',
          clusterIP,
          clusterIPs: [clusterIP],
          ipFamilies: ['IPv4'],
          selector: { app: `shop-${this.#number}` },
        },
        ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }],
      },
    };
  }

  slice(): KubeObject {
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        ...{
          name: `shop-${this.#number}-abcde`,
          namespace: 'bench',
          uid: `e-${this.#number}`,
          resourceVersion: String(this.#version),
        },
        labels: {
          'kubernetes.io/service-name': `shop-${this.#number}`,
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
      },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints: this.#pods.map(({ ip, ready }, i) => ({
        ...{ addresses: [ip], conditions: { ready, serving: ready, terminating: false } },
        ...{
          nodeName: `node-${2 + (i % 50)}`,
          targetRef: { kind: 'Pod', name: `shop-${this.#number}-${i}`, namespace: 'bench' },
        },
      })),
    };
  }
}

const device = {
  ...{ name: 'eth0', kind: '', mac: '02:00:00:00:00:02', mtu: 1500, up: true },
  ...{ addresses: ['192.0.2.2/24', '2001:db8::2/64'], defaultRoute: true },
};
const node: KubeObject = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: facts.nodeName, uid: 'node' },
  spec: { podCIDRs: ['10.0.0.0/16', 'fd00:1::/64'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.2' }] },
};
