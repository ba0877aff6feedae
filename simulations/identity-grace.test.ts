/** The time of grace of an identity: a pod whose labels changed keeps the old one until every node has heard of the new one. */
import { describe, expect, test } from 'vitest';
import { PolicyWorld } from './policy-world.ts';

const GRACE_MS = 5_000;

function ready(): PolicyWorld {
  const world = new PolicyWorld()
    .start({ identityChangeGraceMs: GRACE_MS })
    .restored([])
    .node()
    .synced()
    .namespace('shop');
  world.pod('shop/back', { app: 'backend' });
  world.pod('shop/front', { app: 'frontend' });
  return world;
}

describe('an identity that the cluster has just got', () => {
  const timer = 'endpoint/c-shop-front/eth0/identity';
  function relabelled(): { world: PolicyWorld; old: number } {
    const world = ready();
    const old = world.identity('shop/front');
    world.label('shop/front', { app: 'frontend', version: 'v2' });
    return { world, old };
  }
  const inForce = (world: PolicyWorld) => world.rows('bpf.ipcache')['10.0.0.3/32']?.identity;

  test('is allowed at once, and used when other nodes have had the time to hear of it', () => {
    const { world, old } = relabelled();
    expect(inForce(world)).toBe(old);
    expect(world.rows('timers')[timer]?.dueMs).toBeGreaterThan(GRACE_MS);
    world.say({ type: 'timer.fired', key: timer });
    expect(inForce(world)).not.toBe(old);
    expect(inForce(world)).toBe(world.identity('shop/front'));
    expect(world.rows('timers')[timer]).toBeUndefined();
  });

  test('is not waited for when the labels are the old ones again', () => {
    const { world, old } = relabelled();
    world.label('shop/front', { app: 'frontend' });
    expect(world.rows('timers')[timer]).toBeUndefined();
    expect(inForce(world)).toBe(old);
  });

  test('is not used when the labels have changed again: the last one is', () => {
    const { world, old } = relabelled();
    const before = world.rows('timers')[timer]?.dueMs ?? 0;
    world.label('shop/front', { app: 'frontend', version: 'v3' });
    expect(world.rows('timers')[timer]?.dueMs).toBeGreaterThan(before);
    world.say({ type: 'timer.fired', key: timer });
    const labels = world.rows('local.endpoints')['c-shop-front/eth0']?.labels;
    expect(labels).toContain('k8s:version=v3');
    expect(inForce(world)).not.toBe(old);
  });

  test('is used at once when it is older than that', () => {
    const world = ready();
    const elder = world.identity('shop/back');
    // A second each.
    for (let step = 0; step <= GRACE_MS / 1_000; step++) world.say({ type: 'source.synced', source: 'kube/services' });
    world.label('shop/front', { app: 'backend' });
    expect(inForce(world)).toBe(elder);
  });
});
