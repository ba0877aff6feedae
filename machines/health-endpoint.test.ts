/** The node's health endpoint: the agent's own container, wired as a pod and announced with the node. */
import { describe, expect, test } from 'vitest';
import type { ClusterEvent } from '../cluster/events.ts';
import { type NetworkOptions, NodesWorld } from '../simulations/cluster-nodes.ts';
import { HEALTH_CONTAINER } from './endpoint-context.ts';

const probing: NetworkOptions = { health: { enabled: true, intervalMs: 10_000, endpoint: true } };
const request = { requestId: 'a', containerId: HEALTH_CONTAINER, ifname: 'eth0' };
const add: ClusterEvent = {
  ...{ type: 'cni.add', ...request, netns: '/run/netns/health', podNamespace: '', podName: '', podUid: '' },
  endpointId: 7,
};

const announced = (world: NodesWorld): unknown =>
  (world.rows('kube.objects')['ciliumnodes/node-1'] as { spec: { health?: unknown } } | undefined)?.spec.health;

describe('a health endpoint', () => {
  test('has identity 4 without a pod, and no CiliumEndpoint: the CiliumNode tells of it', () => {
    const world = new NodesWorld().among(probing);
    expect(announced(world)).toBeUndefined();
    world.say(add);
    expect(world.stateOf(`endpoint/${HEALTH_CONTAINER}/eth0`)).toBe('ready');
    const { ipv4, ipv6 } = announced(world) as { ipv4: string; ipv6: string };
    expect(world.rows('bpf.ipcache')[`${ipv4}/32`]).toMatchObject({ identity: 4 });
    expect(world.rows('bpf.endpoints')[ipv6]).toMatchObject({ identity: 4, id: 7, link: 'lxc_health' });
    expect(Object.keys(world.rows('kube.objects')).filter((key) => key.startsWith('ciliumendpoints/'))).toEqual([]);
    expect(Object.keys(world.rows('identity.claims'))).toEqual([]);
  });

  test('that goes is announced no longer, and leaves nothing', () => {
    const world = new NodesWorld().among(probing);
    const before = world.rows('bpf.ipcache');
    world.say(add);
    world.say({ type: 'cni.del', ...request, requestId: 'b' });
    expect(announced(world)).toBeUndefined();
    expect(world.rows('bpf.ipcache')).toEqual(before);
  });

  test('that is not wanted: the gateway answers for the pods', () => {
    const world = new NodesWorld().among({ health: { enabled: true, intervalMs: 10_000 } });
    expect(announced(world)).toEqual({ ipv4: '10.0.1.1', ipv6: 'fd00:1::1' });
  });
});
