/** Which built-in kinds behave in their own way. */
import type { Strategy } from '../types.ts';
import { configMapStrategy, secretStrategy } from './data.ts';
import { definitionStrategy } from './definitions.ts';
import { endpointSliceStrategy } from './endpoint-slices.ts';
import { namespaceStrategy } from './namespaces.ts';
import { networkPolicyStrategy } from './network-policies.ts';
import { nodeStrategy } from './nodes.ts';
import { podStrategy } from './pods.ts';
import { serviceStrategy } from './services.ts';

const strategies: Record<string, Strategy> = {
  ConfigMap: configMapStrategy,
  CustomResourceDefinition: definitionStrategy,
  EndpointSlice: endpointSliceStrategy,
  Namespace: namespaceStrategy,
  NetworkPolicy: networkPolicyStrategy,
  Node: nodeStrategy,
  Pod: podStrategy,
  Secret: secretStrategy,
  Service: serviceStrategy,
};

export function strategyOf(kind: string): Strategy {
  return strategies[kind] ?? {};
}
