/** What links pods to the node is the configuration's for new pods, and stays what it is for those that are there. */
import { expect, test } from 'vitest';
import { NodesWorld, networkFacts } from '../simulations/cluster-nodes.ts';
import { HEALTH_CONTAINER } from './endpoint-context.ts';

const LINK = 'lxc_health';
const probing = { health: { enabled: true, intervalMs: 10_000, endpoint: true } };
const kindOf = (world: NodesWorld): unknown => (world.rows('links')[LINK] as { kind: string } | undefined)?.kind;

function add(world: NodesWorld): void {
  const request = { requestId: 'a', containerId: HEALTH_CONTAINER, ifname: 'eth0' };
  const pod = { netns: '/run/netns/health', podNamespace: '', podName: '', podUid: '' };
  world.say({ type: 'cni.add', ...request, ...pod, endpointId: 7 });
}

test.each([undefined, 'netkit'] as const)(
  'a pod is wired with %s, and keeps it when the configuration changes',
  (device) => {
    const world = new NodesWorld().among(probing);
    const config = networkFacts(probing);
    world.say({ type: 'agent.started', config: { ...config, ...(device && { podDevice: device }) } });
    add(world);
    expect(kindOf(world)).toBe(device ?? 'veth');
    world.say({ type: 'agent.started', config: { ...config, ...(device === undefined && { podDevice: 'netkit' }) } });
    expect(kindOf(world)).toBe(device ?? 'veth');
    expect(world.rows('local.endpoints')[`${HEALTH_CONTAINER}/eth0`]).toEqual(
      device ? expect.objectContaining({ device }) : expect.not.objectContaining({ device: expect.anything() }),
    );
  },
);
