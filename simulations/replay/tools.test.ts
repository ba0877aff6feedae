/** What can be asked of a recording, on recordings of simulated lives with crashes and faults in them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRecording } from '../../cluster/recording.ts';
import { runsOf } from '../../cluster/recording-reader.ts';
import { tableNames } from '../../state/tables.ts';
import { actionsFrom } from '../node/actions.ts';
import { facts, World } from '../node/world.ts';
import { differences, engineDigest } from '../replay.ts';
import { TransitionLog } from './account.ts';
import { BreakOn } from './break-on.ts';
import { Check } from './check.ts';
import { Checkpoints } from './checkpoints.ts';
import { differingRows, eachOp, OpNumbers, opText } from './diff.ts';
import { type Facts, parseExpression } from './expression.ts';
import { Follow, type Followed } from './follow.ts';
import { playIndexed } from './indexed.ts';
import { play, sourceOf } from './source.ts';
import { Timeline } from './timeline.ts';

let directory: string;
let cache: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-tools-`));
  cache = mkdtempSync(join(tmpdir(), `axt-${process.pid}-cache-`));
  const world = new World(25);
  await world.start();
  for (const action of actionsFrom(25, 60)) await world.act(action);
  await world.settle();
  world.agents.forEach(({ log }, life) => {
    const run = { build: '0', node: facts.nodeName, config: facts, kernel: '6' };
    const recording = openRecording(directory, run, { startedAt: 1_000 + life, partBytesMax: 4_000 });
    for (const entry of log) recording.write(entry);
    recording.close();
  });
  world.close();
}, 60_000);
afterAll(() => {
  for (const path of [directory, cache]) rmSync(path, { recursive: true, force: true });
});

describe('moments', () => {
  it('are reached from every checkpoint as from the start, and what follows is the same', async () => {
    const checkpoints = new Checkpoints(directory, cache, false, 40);
    const whole = await playIndexed(directory, checkpoints, undefined);
    const digest = engineDigest(whole.player.life.engine);
    expect(checkpoints.all.length).toBeGreaterThan(5);
    for (const checkpoint of checkpoints.all) {
      const { player, index } = await playIndexed(directory, checkpoints, checkpoint);
      expect(index).toBe(whole.index);
      expect(player.divergences).toEqual(whole.player.divergences);
      expect(engineDigest(player.life.engine)).toEqual(digest);
      expect(differences(player.life.engine, player.kernel)).toEqual([]);
    }
    // Never from one after the moment: that of each checkpoint is reached from itself, the one just before from the one before it.
    checkpoints.all.forEach((one, i) => {
      const { run, seq } = one;
      expect(checkpoints.before({ run, seq }, run)).toBe(one);
      expect(checkpoints.before({ run, seq: seq - 1 }, run)).toBe(checkpoints.all[i - 1]);
      expect(checkpoints.before({ seq: seq - 1 }, run)).toBe(checkpoints.all[i - 1]);
      expect(checkpoints.before({ time: one.at - 1 }, run)?.at ?? 0).toBeLessThan(one.at);
    });
    // Another pass finds them; another build or recording would not.
    expect(new Checkpoints(directory, cache, false, 40).all).toEqual(checkpoints.all);
    expect(new Checkpoints(directory, cache, true, 40).all).toEqual([]);
  }, 60_000);

  it('are moved about on a timeline, and each is what a replay up to there is', async () => {
    const timeline = await Timeline.of(sourceOf([directory]), new Checkpoints(directory, '', false), []);
    const runs = await runsOf(directory);
    expect(timeline.runs.length).toBe(runs.length);
    expect(timeline.marks.filter(({ kind }) => kind === 'start').length).toBeGreaterThanOrEqual(1);
    expect(timeline.histogram().counts.reduce((a, b) => a + b, 0)).toBe(timeline.events);
    for (const index of [0, 1, timeline.events >> 1, timeline.events]) {
      const seat = await timeline.seek(index);
      expect(seat.index).toBe(index);
      const [listed] = await timeline.list(index, 1);
      if (index > 0)
        expect(listed).toMatchObject({ index, seq: seat.seq, run: seat.run, subject: seat.account?.event.subject });
      if (index === 0) continue;
      const until = { run: seat.run, seq: seat.seq };
      expect(engineDigest(seat.engine)).toEqual((await play(sourceOf([directory]), [], until)).digest);
    }
  }, 60_000);
});

describe('questions', () => {
  it('every law holds in a life with crashes and faults', async () => {
    const check = new Check();
    await play(sourceOf([directory]), [check]);
    check.end();
    expect(check.result.violations).toEqual([]);
    expect(check.result.prefixes).toBeGreaterThan(20);
    expect(check.result.flows).toBeGreaterThan(100);
  }, 60_000);

  it('a machine is followed, each transition with its cause', async () => {
    const transitions = new TransitionLog();
    const heard: Followed[] = [];
    await play(sourceOf([directory]), [transitions, new Follow('endpoint/*', transitions, (one) => heard.push(one))]);
    expect(heard[0]).toMatchObject({ from: '', on: 'born' });
    expect(heard.some(({ on, because, seq }) => on === 'settled' && because.seq < seq)).toBe(true);
    for (const { because } of heard) expect(because.subject).not.toBe('');
  });

  it('the first event is found after which something is true, and not one before it', async () => {
    const transitions = new TransitionLog();
    const watcher = new BreakOn('count(bpf.endpoints) > 1 and machine(endpoint/*) = ready', transitions);
    const { seq, runs, engine } = await play(sourceOf([directory]), [transitions, watcher]);
    expect(watcher.found?.event).toMatchObject({ seq, run: runs });
    expect(engine.actual('bpf.endpoints').size).toBeGreaterThan(1);
    const before = await play(sourceOf([directory]), [], { run: runs, seq: seq - 1 });
    const isReady = before.engine.machines().some(({ kind, state }) => kind === 'endpoint' && state === 'ready');
    expect(isReady && before.engine.actual('bpf.endpoints').size > 1).toBe(false);
  });

  it('another configuration is compared op by op and row by row', async () => {
    const numbers = new OpNumbers();
    const source = sourceOf([directory]);
    const policy = { ...facts.policy, enforcement: 'always' } as NonNullable<typeof facts.policy>;
    const one = await play({ ...source, config: {} }, [eachOp((op) => void numbers.add(opText(op)))]);
    let index = 0;
    let isDifferent = false;
    const hear = eachOp((op) => {
      isDifferent ||= !numbers.has(index++, opText(op));
      return undefined;
    });
    const same = await play({ ...source, config: {} }, [hear]);
    expect([
      isDifferent,
      differingRows(
        (table) => one.engine.actual(table),
        (table) => same.engine.actual(table),
      ),
    ]).toEqual([false, []]);
    const other = await play({ ...source, config: { policy } }, []);
    const rows = differingRows(
      (table) => one.engine.actual(table),
      (table) => other.engine.actual(table),
    );
    expect(rows.map(({ table }) => table)).toContain('bpf.endpoints');
  });
});

describe('expressions', () => {
  const world: Facts = {
    machines: (key) =>
      key === 'endpoint/a' || key === 'endpoint/*'
        ? [{ state: 'ready', context: () => ({ node: { ip: '10.0.0.1' } }) }]
        : [],
    rows: (table, key) => (table === 'bpf.ipcache' && key === '10.0.0.7/32' ? [{ identity: 4, flags: 0 }] : []),
    count: () => 3,
    event: () => ({ type: 'kube.deleted', subject: 'pods/demo/web', seq: 9 }),
  };
  it.each([
    ['machine(endpoint/a) = ready', true],
    ['machine(endpoint/b) = none', true],
    ['machine(endpoint/*) = ready and not machine(endpoint/b)', true],
    ['machine(endpoint/a).node.ip = "10.0.0.1"', true],
    ['row(bpf.ipcache 10.0.0.7/32).identity >= 4', true],
    ['row(bpf.ipcache 10.0.0.7/32).flags', true],
    ['row(bpf.ipcache 10.0.0.8/32)', false],
    ['count(bpf.backends) < 3 or event.subject ~ "pods/demo/*"', true],
    ['(count(bpf.backends) != 3)', false],
    ['event.seq = 9 and event.type = kube.deleted', true],
    ['event.nothing = none', true],
  ])('%s', (text, holds) => expect(parseExpression(text, tableNames)(world)).toBe(holds));

  it.each([
    ['', /an expression is expected, at column 1/],
    ['machine(a = b', /the parenthesis that opens here is not closed, at column 8/],
    ['a = ', /is expected here, not the end, at column 5/],
    ['row(bpf.ipcach x)', /no table is named bpf.ipcach, near it are bpf.ipcache.*at column 5/],
    ['row(bpf.ipcache)', /the key of a row is expected after the table.*at column 16/],
    ['rows(bpf.ipcache)', /there is no rows\(…\).*at column 1/],
    ['a b', /b is not expected here, at column 3/],
    ['(a', /\) is expected, at column 3/],
    ['a = "b', /the text that begins here has no end, at column 5/],
  ])('%s is refused with its column', (text, message) =>
    expect(() => parseExpression(text, tableNames)).toThrow(message),
  );
});
