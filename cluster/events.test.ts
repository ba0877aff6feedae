/** Objects that keep their topics are known as such without listing them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type KubeObject, type KubeResource, keepsTopics, topicsOf } from './events.ts';

const resources: readonly KubeResource[] = [
  'pods',
  'nodes',
  'services',
  'endpointslices',
  'ciliumidentities',
  'ciliumendpoints',
  'ciliumnetworkpolicies',
];
const object = fc.record({
  labels: fc.option(fc.constantFrom('', 'shop', 'cart'), { nil: undefined }),
  security: fc.constantFrom('a', 'b'),
  node: fc.constantFrom('192.0.2.1', '192.0.2.2'),
});
const objectOf = ({
  labels,
  security,
  node,
}: {
  labels: string | undefined;
  security: string;
  node: string;
}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Any',
  metadata: {
    name: 'one',
    namespace: 'demo',
    ...(labels !== undefined && { labels: { 'kubernetes.io/service-name': labels } }),
  },
  'security-labels': { app: security },
  status: { networking: { node } },
});

it('says that topics are kept only where they are', () => {
  fc.assert(
    fc.property(fc.constantFrom(...resources), object, object, (resource, a, b) => {
      const [before, now] = [objectOf(a), objectOf(b)];
      const [was, is] = [before, now].map((one) =>
        JSON.stringify(topicsOf({ type: 'kube.upserted', resource, object: one })),
      );
      if (keepsTopics(resource, before, now)) expect(is).toBe(was);
    }),
  );
});
