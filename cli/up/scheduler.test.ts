/** Pods over nodes: evenly, though nodes become Ready one after the other. */
import { expect, test, vi } from 'vitest';
import type { KubeObject } from '../../cluster/events.ts';
import type { EventRecorder } from './event-recorder.ts';
import type { Follower, Objects } from './objects.ts';
import { Scheduler } from './scheduler.ts';

/** As much of the API server as the scheduler sees. */
class Board {
  readonly bound: Record<string, string> = {};
  readonly told: string[] = [];
  readonly #followers: [string, Follower<KubeObject>][] = [];
  readonly objects = {
    follow: (resource: string, follower: Follower<KubeObject>) => {
      this.#followers.push([resource, follower]);
      return () => {};
    },
    bind: (_: string, name: string, node: string) => {
      this.bound[name] = node;
      this.hear('pods', pod(name, node));
    },
  } as unknown as Objects;
  readonly events = {
    record: (_: unknown, __: string, reason: string) => this.told.push(reason),
  } as unknown as EventRecorder;

  hear(resource: string, object: KubeObject): void {
    for (const [of, follower] of this.#followers)
      if (of === resource && (follower.where?.(object) ?? true)) follower.upserted(object);
  }
}

const pod = (name: string, nodeName?: string): KubeObject => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'demo', name, uid: name } },
  spec: nodeName ? { nodeName } : {},
});
const node = (name: string, ready: boolean): KubeObject => ({
  ...{ apiVersion: 'v1', kind: 'Node', spec: {} },
  metadata: { name, uid: name, creationTimestamp: new Date().toISOString() },
  status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
});

function begun(): Board {
  const board = new Board();
  new Scheduler(board.objects, board.events).start();
  for (const name of ['node-1', 'node-2', 'node-3']) board.hear('nodes', node(name, false));
  for (let at = 0; at < 7; at++) board.hear('pods', pod(`pod-${at}`));
  return board;
}
const counts = ({ bound }: Board): number[] =>
  ['node-1', 'node-2', 'node-3'].map((name) => Object.values(bound).filter((one) => one === name).length);

test('pods wait for nodes that are about to be Ready, and are spread then', () => {
  const board = begun();
  board.hear('nodes', node('node-1', true));
  board.hear('nodes', node('node-3', true));
  expect(board.bound).toEqual({});
  expect(board.told).toEqual([]);
  board.hear('nodes', node('node-2', true));
  expect(counts(board)).toEqual([3, 2, 2]);
  // A node that was Ready is not waited for.
  board.hear('nodes', node('node-2', false));
  board.hear('pods', pod('later'));
  expect(counts(board)).toEqual([3, 2, 3]);
});

test('a node that does not become Ready is not waited for long', () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  try {
    const board = begun();
    board.hear('nodes', node('node-1', true));
    vi.advanceTimersByTime(9_000);
    expect(counts(board)).toEqual([0, 0, 0]);
    vi.advanceTimersByTime(2_000);
    expect(counts(board)).toEqual([7, 0, 0]);
  } finally {
    vi.useRealTimers();
  }
});
