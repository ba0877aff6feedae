/** What is left of services and slices before they are kept, and that machines read no less of it. */
import { describe, expect, test } from 'vitest';
import { sliceFacts } from '../machines/service-slices.ts';
import { serviceSpec } from '../machines/service-spec.ts';
import { slimEndpointSlice, slimService } from './slim.ts';
import { WatchedSet } from './watched-set.ts';

const metadata = {
  name: 'web',
  namespace: 'shop',
  uid: 'u',
  resourceVersion: '7',
  generation: 3,
  creationTimestamp: '2026-01-01T00:00:00Z',
  labels: { 'kubernetes.io/service-name': 'web', app: 'web' },
  annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
  ownerReferences: [{ uid: 'o' }],
};
const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata,
  spec: { type: 'LoadBalancer', clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }], externalTrafficPolicy: 'Local' },
  status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] }, conditions: [{ type: 'X' }] },
};
const slice = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata,
  addressType: 'IPv4',
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  endpoints: [1, 2].map((i) => ({
    addresses: [`10.0.0.${i}`],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: 'node-1',
    zone: 'z',
    hints: { forZones: [{ name: 'z' }] },
    targetRef: { kind: 'Pod', name: `web-${i}` },
  })),
};

describe('slim objects', () => {
  test('a service keeps what it is, and nothing of who made it', () => {
    const slim = slimService(service);
    expect(slim.metadata).toEqual({
      name: 'web',
      namespace: 'shop',
      uid: 'u',
      resourceVersion: '7',
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: metadata.labels,
    });
    expect(slim.status).toEqual({ loadBalancer: service.status.loadBalancer });
    expect(serviceSpec(slim)).toEqual(serviceSpec(service));
    const own = { type: 'axoneme.io/FrontendConflict', status: 'True' };
    const contested = slimService({ ...service, status: { conditions: [{ type: 'X' }, own, null] } });
    expect(contested.status).toEqual({ conditions: [own] });
  });
  test('a slice keeps its endpoints without their pods, and equal conditions once', () => {
    const slim = slimEndpointSlice(slice);
    expect(sliceFacts(slim)).toEqual(sliceFacts(slice));
    expect(JSON.stringify(slim)).not.toMatch(/targetRef|ownerReferences|"app"/);
    const [first, second] = slim.endpoints as { conditions: object }[];
    expect(first?.conditions).toBe(second?.conditions);
  });
  test('garbage passes through', () => {
    const bad = { ...slice, endpoints: null, ports: 7 } as unknown as typeof slice;
    expect(slimEndpointSlice(bad).endpoints).toBeNull();
    expect(slimEndpointSlice({ ...bad, endpoints: [null, 3] } as unknown as typeof slice).endpoints).toEqual([null, 3]);
  });
  test('a watcher keeps, says and deletes slim ones', () => {
    const set = new WatchedSet(slimService);
    const said = set.listed([service], '7');
    expect(said[0]).toEqual({ type: 'upsert', object: slimService(service) });
    const later = { ...service, metadata: { ...metadata, resourceVersion: '8' } };
    expect(set.heard('DELETED', later)).toEqual([{ type: 'delete', object: slimService(later) }]);
  });
});
