/** Paths of printer columns. */
import { expect, test } from 'vitest';
import { readPath } from './json-path.ts';

const node = {
  metadata: { labels: { 'io.kubernetes.pod.namespace': 'default' } },
  spec: {
    addresses: [
      { type: 'InternalIP', ip: '10.0.0.1' },
      { type: 'CiliumInternalIP', ip: '10.0.0.2' },
    ],
  },
};

test.each([
  ['.spec.addresses[?(@.type=="CiliumInternalIP")].ip', ['10.0.0.2']],
  [".spec.addresses[?(@.type=='InternalIP')].ip", ['10.0.0.1']],
  ['.spec.addresses[0].ip', ['10.0.0.1']],
  ['.spec.addresses[*].ip', ['10.0.0.1', '10.0.0.2']],
  ['.metadata.labels.io\\.kubernetes\\.pod\\.namespace', ['default']],
  ["{.metadata.labels['io.kubernetes.pod.namespace']}", ['default']],
  ['.spec.nothing[0].here', []],
  ['.spec[', []],
])('%s', (path, found) => {
  expect(readPath(path, node)).toEqual(found);
});
