/** For the page's stories: a browser, and a large cluster that talks without being there. */
import { existsSync } from 'node:fs';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { Subject } from 'rxjs';
import type { HubbleView } from '../../observe/debug/sources.ts';
import { flowsFor } from '../../observe/hubble/observer.ts';
import { Ring } from '../../observe/hubble/ring.ts';
import type { Flow, FlowEndpoint } from '../../observe/hubble/types.ts';
import type { FilterWords } from '../../observe/web/flow-routes.ts';

const BROWSERS = ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium'];

export function openBrowser(): Promise<Browser> {
  const executablePath = BROWSERS.find((path) => existsSync(path));
  if (!executablePath) throw new Error(`no Chromium: none of ${BROWSERS.join(', ')}; run deploy/bootstrap.sh --test`);
  // It runs as root, and in a container, where it can have no sandbox of its own; it sees nothing but our page.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** What a page complained of; its story ends with none. */
export async function openPage(context: BrowserContext, url: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.stack ?? error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(new URL(url).origin)) complaints.push(`asks for ${request.url()}`);
  });
  await page.goto(url);
  return { page, complaints };
}

const RING = 4095;

/** Flows of `workloads` workloads in some twenty namespaces, each calling a few others, one call in 25 denied. */
export function talkingCluster(workloads: number, words: FilterWords): HubbleView & { talk(flows: number): void } {
  const ring = new Ring<Flow>(RING);
  const flows$ = new Subject<Flow>();
  const ends = Array.from({ length: workloads }, (_, i) => endOf(i));
  const calls = ends.flatMap((from, i) => callsOf(i, workloads).map((to) => ({ from, to: ends[to] ?? from })));
  let made = 0;
  return {
    socket: '/none',
    listen: '',
    ring,
    flows$,
    words,
    flows: (request, signal) => flowsFor(ring, request, 'node-1', signal),
    status: () => ({
      num_flows: ring.size,
      max_flows: ring.capacity,
      seen_flows: ring.next,
      uptime_ns: 1,
      version: '0',
      flows_rate: 0,
    }),
    talk(number) {
      for (let i = 0; i < number; i++, made++) {
        const call = calls[(made * 11) % calls.length];
        if (!call) return;
        const flow = flowOf(call.from, call.to, made, made % 25 === 0);
        ring.push(flow);
        flows$.next(flow);
      }
    },
  };
}

/** Mostly to the neighbours in the same namespace, now and then to another. */
function callsOf(i: number, workloads: number): number[] {
  const next = (step: number): number => (i + step) % workloads;
  return i % 5 === 0 ? [next(1), next(2), next(37)] : i % 5 === 4 ? [next(113)] : [next(1)];
}

function endOf(i: number): FlowEndpoint & { address: string } {
  const namespace = `team-${String(Math.floor(i / 25)).padStart(2, '0')}`;
  const app = `${['api', 'cart', 'search', 'mail', 'billing', 'stock', 'users'][i % 7]}-${i}`;
  return {
    ID: i + 1,
    identity: 1000 + i,
    cluster_name: 'large',
    namespace,
    labels: [`k8s:app=${app}`, `k8s:io.kubernetes.pod.namespace=${namespace}`],
    pod_name: `${app}-7d9f8b6c5d-x2x4z`,
    address: `10.${(i >> 8) + 1}.${i & 255}.2`,
  };
}

function flowOf(from: ReturnType<typeof endOf>, to: ReturnType<typeof endOf>, number: number, isDenied: boolean): Flow {
  const now = Date.now();
  const { address: source, ...sourceEnd } = from;
  const { address: destination, ...destinationEnd } = to;
  return {
    time: { seconds: Math.floor(now / 1000), nanos: (now % 1000) * 1_000_000 },
    uuid: `synthetic-${number}`,
    emitter: { name: 'Hubble', version: '0' },
    verdict: isDenied ? 'DROPPED' : 'FORWARDED',
    ...(isDenied && { drop_reason: 133, drop_reason_desc: 'POLICY_DENIED' }),
    IP: { source, destination, ipVersion: 'IPv4' },
    l4: { TCP: { source_port: 30_000 + (number % 30_000), destination_port: 8080, flags: { SYN: true } } },
    source: sourceEnd,
    destination: destinationEnd,
    Type: 'L3_L4',
    node_name: 'large/node-1',
    event_type: { type: isDenied ? 1 : 4, sub_type: isDenied ? 133 : 0 },
    traffic_direction: 'EGRESS',
    ...(!isDenied && { trace_observation_point: 'TO_ENDPOINT', trace_reason: 'NEW', is_reply: { value: false } }),
    Summary: 'TCP Flags: SYN',
  };
}
