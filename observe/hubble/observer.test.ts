/** Reading a ring for a client: however long the client's filter takes, others get their turn. */
import { describe, expect, it } from 'vitest';
import { flowsFor, type GetFlowsRequest } from './observer.ts';
import type { RingView } from './ring.ts';
import type { Flow, FlowEndpoint } from './types.ts';

const FLOWS = 2_000;
const COST_MS = 0.05;
const nobody: FlowEndpoint = { ID: 0, identity: 0, cluster_name: '', namespace: '', pod_name: '', labels: [] };
const flow = { source: nobody, destination: nobody, time: { seconds: 1, nanos: 0 } } as Flow;

/** Each look at a flow takes a while, as with a costly filter. */
const slow = (looks: { count: number }): RingView<Flow> => ({
  capacity: FLOWS,
  oldest: 0,
  next: FLOWS,
  size: FLOWS,
  get(at: number) {
    for (const end = performance.now() + COST_MS; performance.now() < end; );
    looks.count++;
    return at < FLOWS ? flow : undefined;
  },
  reached: () => Promise.reject(new Error('nobody follows')),
});

describe('a filter that nothing matches', () => {
  it.each<[string, GetFlowsRequest, number]>([
    ['of all flows', {}, FLOWS],
    ['of the last ones', { number: 20 }, 2 * FLOWS],
  ])('%s leaves the event loop to others meanwhile', async (_, request, looks) => {
    let turns = 0;
    const other = setInterval(() => turns++, 1);
    const looked = { count: 0 };
    const whitelist = [{ source_pod: ['none/'] }];
    const found = [];
    const { signal } = new AbortController();
    for await (const one of flowsFor(slow(looked), { whitelist, ...request }, 'n', signal)) found.push(one);
    clearInterval(other);
    expect(found).toEqual([]);
    expect(looked.count).toBeGreaterThanOrEqual(looks);
    // A turn of theirs for each few milliseconds of ours; less only where the machine is slow.
    expect(turns).toBeGreaterThanOrEqual(5);
  });

  it('ends when the client has gone', async () => {
    const gone = new AbortController();
    setTimeout(() => gone.abort(), 5);
    const looked = { count: 0 };
    const request = { whitelist: [{ source_pod: ['none/'] }], number: 20 };
    for await (const _ of flowsFor(slow(looked), request, 'n', gone.signal));
    expect(looked.count).toBeLessThan(FLOWS);
  });
});

it('a field mask names no more fields than there may be', async () => {
  const field_mask = { paths: Array<string>(257).fill('verdict') };
  const { signal } = new AbortController();
  const answers = flowsFor(slow({ count: 0 }), { field_mask }, 'n', signal);
  await expect(answers.next()).rejects.toThrow(/257 fields, expected at most 256/);
});
