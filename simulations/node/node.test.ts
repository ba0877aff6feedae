/** Whatever happens to a simulated node, the laws hold; and a node on which they do not is found out. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Action, actionsFrom, errnos, shrink, tailOf } from './actions.ts';
import { checkSettled } from './laws.ts';
import { FAR_PODS, NEIGHBORS, neighborKinds } from './neighbors.ts';
import { POLICIES, policyKinds } from './policies.ts';
import { runActions } from './run.ts';
import { ENDPOINTS, SERVICES, SLICES, serviceKinds } from './services.ts';
import { World } from './world.ts';

const pod = fc.integer({ min: 0, max: 5 });
const which = fc.integer({ min: 0, max: 199 });
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('create' as const), pod }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), pod }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('work' as const), ops: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(100, 1_000, 31_000) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('kill' as const), afterOps: fc.integer({ min: 0, max: 40 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('service' as const),
      service: fc.nat(SERVICES - 1),
      as: fc.constantFrom('none' as const, ...serviceKinds),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('endpoints' as const),
      service: fc.nat(SERVICES - 1),
      slice: fc.nat(SLICES - 1),
      ready: fc.nat(2 ** ENDPOINTS - 1),
      draining: fc.nat(2 ** ENDPOINTS - 1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('policy' as const),
      policy: fc.nat(POLICIES - 1),
      as: fc.constantFrom(...policyKinds),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('neighbor' as const),
      node: fc.nat(NEIGHBORS - 1),
      as: fc.constantFrom(...neighborKinds),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('farPod' as const),
      pod: fc.nat(FAR_PODS - 1),
      node: fc.nat(NEIGHBORS - 1),
      as: fc.constantFrom('none' as const, 'there' as const, 'changed' as const),
    }),
  },
  fc.record({ do: fc.constant('rekey' as const) }),
  fc.record({ do: fc.constant('probe' as const), node: fc.nat(NEIGHBORS - 1), up: fc.boolean() }),
  fc.record({ do: fc.constant('relabel' as const), pod, label: fc.integer({ min: 0, max: 2 }) }),
  fc.record({ do: fc.constant('loseNamespace' as const), pod }),
  fc.record({
    do: fc.constant('cni' as const),
    how: fc.constantFrom('addAgain' as const, 'delEarly' as const, 'delUnknown' as const),
    pod,
  }),
  fc.record({ do: fc.constant('relabelNamespace' as const), label: fc.integer({ min: 0, max: 1 }) }),
  fc.record({
    do: fc.constant('node' as const),
    how: fc.constantFrom('delete' as const, 'strip' as const, 'restore' as const),
  }),
  fc.record({ do: fc.constant('upgrade' as const), build: fc.integer({ min: 0, max: 2 }) }),
  fc.record({ do: fc.constant('api' as const), up: fc.boolean() }),
  fc.record({ do: fc.constantFrom('loseIdentity' as const, 'rivalIdentity' as const), which }),
  fc.record({ do: fc.constant('flap' as const), up: fc.boolean() }),
  fc.record({
    do: fc.constant('fault' as const),
    errno: fc.constantFrom(...errnos),
    ops: fc.integer({ min: 1, max: 8 }),
  }),
  fc.record({
    do: fc.constant('drift' as const),
    which,
    how: fc.constantFrom('remove' as const, 'change' as const, 'add' as const),
  }),
);

describe('a simulated node', () => {
  it('keeps every law, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(action, { maxLength: 40 }), async (seed, actions) => {
        expect((await runActions(seed, actions)).violations).toEqual([]);
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  /** Each broke a law once. */
  it.each<[string, Action[]]>([
    [
      'a restart with pods',
      [{ do: 'create', pod: 1 }, { do: 'advance', ms: 1_000 }, { do: 'kill', afterOps: 0 }, { do: 'restart' }],
    ],
    [
      'a link that is back before it is gone',
      [
        { do: 'work', ops: 4 },
        { do: 'flap', up: false },
      ],
    ],
    [
      'a pod that is gone before its endpoint is announced',
      [
        { do: 'node', how: 'strip' },
        { do: 'create', pod: 0 },
        { do: 'kill', afterOps: 10 },
        { do: 'delete', pod: 0 },
      ],
    ],
    [
      'death while an endpoint is leaving',
      [
        { do: 'create', pod: 0 },
        { do: 'work', ops: 8 },
        { do: 'kill', afterOps: 15 },
        { do: 'create', pod: 4 },
        { do: 'delete', pod: 0 },
        { do: 'work', ops: 4 },
      ],
    ],
    [
      'two identities for one label set',
      [
        { do: 'create', pod: 1 },
        { do: 'create', pod: 2 },
        { do: 'rivalIdentity', which: 4 },
      ],
    ],
    [
      'death between an API write and its result',
      [
        { do: 'kill', afterOps: 5 },
        { do: 'create', pod: 0 },
        { do: 'delete', pod: 0 },
      ],
    ],
    [
      'an endpoint that is taken back while the kernel is slow',
      [
        { do: 'work', ops: 8 },
        { do: 'create', pod: 4 },
        { do: 'create', pod: 3 },
        { do: 'fault', errno: 'EBUSY', ops: 3 },
        { do: 'advance', ms: 31_000 },
        { do: 'work', ops: 3 },
        { do: 'kill', afterOps: 0 },
      ],
    ],
    [
      'a service that changes while its rows are being put',
      [
        { do: 'api', up: false },
        { do: 'service', service: 2, as: 'local' },
        { do: 'work', ops: 2 },
        { do: 'api', up: true },
        { do: 'service', service: 2, as: 'plain' },
      ],
    ],
    [
      'a frontend that cannot be put while its old set is to go',
      [
        { do: 'service', service: 1, as: 'local' },
        { do: 'create', pod: 3 },
        { do: 'create', pod: 0 },
        { do: 'fault', errno: 'E2BIG', ops: 8 },
        { do: 'service', service: 1, as: 'plain' },
        { do: 'advance', ms: 31_000 },
      ],
    ],
    [
      'backends of before the agent’s death, and a set that cannot be put',
      [
        { do: 'endpoints', service: 2, slice: 0, ready: 5, draining: 13 },
        { do: 'kill', afterOps: 4 },
        { do: 'service', service: 2, as: 'external' },
        { do: 'fault', errno: 'EBUSY', ops: 2 },
        { do: 'endpoints', service: 2, slice: 0, ready: 2, draining: 2 },
        { do: 'restart' },
      ],
    ],
    [
      'a policy that is another before its CIDR has an identity',
      [
        { do: 'policy', policy: 2, as: 'denyCidr' },
        { do: 'work', ops: 2 },
        { do: 'create', pod: 0 },
        { do: 'policy', policy: 2, as: 'denyAll' },
      ],
    ],
    [
      'an identity that goes while no agent is there',
      [
        { do: 'create', pod: 3 },
        { do: 'kill', afterOps: 28 },
        { do: 'relabel', pod: 3, label: 1 },
        { do: 'create', pod: 2 },
        { do: 'loseIdentity', which: 5 },
        { do: 'policy', policy: 1, as: 'kubernetes' },
      ],
    ],
    [
      'a CIDR of before the agent’s death that no policy names, and a fault',
      [
        { do: 'work', ops: 9 },
        { do: 'policy', policy: 1, as: 'denyCidr' },
        { do: 'create', pod: 3 },
        { do: 'kill', afterOps: 17 },
        { do: 'work', ops: 11 },
        { do: 'restart' },
        { do: 'create', pod: 1 },
        { do: 'fault', errno: 'ENOMEM', ops: 1 },
        { do: 'policy', policy: 1, as: 'fromOneOnPort' },
        { do: 'create', pod: 4 },
      ],
    ],
  ])('keeps them through %s', async (_, actions) => {
    for (const seed of [7, 34, 45, 62]) expect((await runActions(seed, actions)).violations).toEqual([]);
  });

  /** Those that need the chances of one seed. */
  it.each<[string, number, Action[]]>([
    [
      'a restart on which EndpointSlices are listed last',
      128_281_828,
      [
        { do: 'kill', afterOps: 0 },
        { do: 'create', pod: 5 },
        { do: 'create', pod: 1 },
      ],
    ],
    [
      'a restart with two pods of another node that claim one address',
      126_838_081,
      [
        { do: 'farPod', pod: 2, node: 0, as: 'there' },
        { do: 'neighbor', node: 0, as: 'there' },
        { do: 'farPod', pod: 3, node: 0, as: 'changed' },
      ],
    ],
    [
      'a CIDR of before the start that a policy names only once there is a pod',
      117926915,
      [
        { do: 'policy', policy: 2, as: 'toCidr' },
        { do: 'kill', afterOps: 32 },
        { do: 'api', up: false },
        { do: 'create', pod: 2 },
        { do: 'create', pod: 0 },
        { do: 'api', up: true },
        { do: 'api', up: false },
        { do: 'restart' },
      ],
    ],
    [
      'a CIDR that is named again while it is on its way out',
      118395247,
      [
        { do: 'kill', afterOps: 37 },
        { do: 'node', how: 'delete' },
        { do: 'create', pod: 5 },
        { do: 'create', pod: 0 },
        { do: 'restart' },
        { do: 'policy', policy: 0, as: 'toCidrExcept' },
        { do: 'create', pod: 2 },
        { do: 'delete', pod: 5 },
        { do: 'work', ops: 5 },
        { do: 'policy', policy: 2, as: 'denyCidr' },
        { do: 'advance', ms: 31_000 },
      ],
    ],
    [
      'a CIDR whose number was another’s before the restart',
      118009500,
      [
        { do: 'policy', policy: 1, as: 'toCidr' },
        { do: 'policy', policy: 2, as: 'denyCidr' },
        { do: 'create', pod: 2 },
        { do: 'work', ops: 6 },
        { do: 'upgrade', build: 1 },
        { do: 'fault', errno: 'EAGAIN', ops: 3 },
        { do: 'kill', afterOps: 5 },
        { do: 'delete', pod: 2 },
        { do: 'create', pod: 1 },
        { do: 'policy', policy: 1, as: 'none' },
        { do: 'advance', ms: 31_000 },
        { do: 'restart' },
        { do: 'upgrade', build: 0 },
      ],
    ],
  ])('keeps them through %s', async (_, seed, actions) => {
    expect((await runActions(seed, actions)).violations).toEqual([]);
  });

  it('orders its ops so that the kernel never has a reason to refuse one', async () => {
    const harmless = [
      'create',
      'delete',
      'relabel',
      'work',
      'advance',
      'kill',
      'restart',
      'api',
      'service',
      'endpoints',
    ];
    for (let seed = 1; seed <= 15; seed++) {
      const world = new World(seed);
      await world.start();
      for (const one of actionsFrom(seed, 80)) if (harmless.includes(one.do)) await world.act(one);
      await world.settle();
      const results = world.agents.flatMap(({ log }) =>
        log.flatMap(({ event }) => (event.type === 'ops.done' ? event.results : [])),
      );
      expect(results.length).toBeGreaterThan(50);
      // A pod's namespace may be gone when an agent that died comes back to it.
      const refused = results.filter(({ error }) => error?.kind === 'kernel' && error.errno !== 'ENOENT');
      expect(refused).toEqual([]);
      world.close();
    }
  });

  it('does the same twice from one seed', async () => {
    expect(await runActions(11, actionsFrom(11, 60))).toEqual(await runActions(11, actionsFrom(11, 60)));
  });
});

describe('the laws', () => {
  async function spoiled(spoil: (world: World) => void | Promise<void>): Promise<string[]> {
    const world = new World(1);
    try {
      await world.start();
      await world.act({ do: 'create', pod: 1 });
      expect(await world.settle()).toBe(true);
      await spoil(world);
      return await checkSettled(world);
    } finally {
      world.close();
    }
  }
  const link = (world: World): string => world.runtime.sandboxes[0]?.result?.link ?? '';

  it('hold when nothing was spoiled', async () => {
    expect(await spoiled(() => {})).toEqual([]);
  });
  it.each<[string, (world: World) => void]>([
    ['lost', (world) => world.kernel.meddle('links', link(world), undefined)],
    ['leaked', (world) => world.kernel.meddle('bpf.ipcache', '203.0.113.1/32', { identity: 9 })],
    ['convergent', (world) => world.kernel.meddle('bpf.ipcache', '10.0.1.1/32', { identity: 9 })],
    [
      'leaked',
      (world) =>
        world.api.upsert('ciliumendpoints', {
          apiVersion: 'cilium.io/v2',
          kind: 'CiliumEndpoint',
          metadata: { name: 'x', namespace: 'demo' },
        }),
    ],
  ])('notice what is %s', async (law, spoil) => {
    expect((await spoiled(spoil)).map((line) => line.split(':')[0])).toContain(law);
  });
});

it('a failing list of actions is shrunk to what fails', async () => {
  const actions: Action[] = Array.from({ length: 40 }, (_, pod) => ({ do: 'create', pod }));
  const fails = async (some: readonly Action[]): Promise<boolean> =>
    [7, 31].every((wanted) => some.some((one) => one.do === 'create' && one.pod === wanted));
  expect(await shrink(actions, fails, () => false)).toEqual([
    { do: 'create', pod: 7 },
    { do: 'create', pod: 31 },
  ]);
});

it('of a long list that fails the end is tried first', async () => {
  const actions: Action[] = Array.from({ length: 1_000 }, (_, pod) => ({ do: 'create', pod }));
  const tried: number[] = [];
  const failsBy = (wanted: number) => async (some: readonly Action[]) => {
    tried.push(some.length);
    return some.some((one) => one.do === 'create' && one.pod === wanted);
  };
  expect(await tailOf(actions, failsBy(800), () => false)).toEqual(actions.slice(-256));
  expect(await tailOf(actions, failsBy(0), () => false)).toBe(actions);
  expect(tried).toEqual([64, 128, 256, 64, 128, 256, 512]);
});
