/** All CustomResourceDefinitions of the project, and validation of their objects. */
import { violations } from '../api-server/schema.ts';
import type { Cause } from '../api-server/types.ts';
import { ciliumBgpAdvertisement } from './cilium-bgp-advertisement.ts';
import { ciliumBgpClusterConfig, ciliumBgpNodeConfigOverride, ciliumBgpPeerConfig } from './cilium-bgp-config.ts';
import { ciliumBgpNodeConfig } from './cilium-bgp-node-config.ts';
import { ciliumCidrGroup } from './cilium-cidr-group.ts';
import { ciliumEgressGatewayPolicy } from './cilium-egress-gateway-policy.ts';
import { ciliumEndpoint } from './cilium-endpoint.ts';
import { ciliumEndpointSlice } from './cilium-endpoint-slice.ts';
import { ciliumClusterwideEnvoyConfig, ciliumEnvoyConfig } from './cilium-envoy-config.ts';
import { ciliumIdentity } from './cilium-identity.ts';
import { ciliumL2AnnouncementPolicy } from './cilium-l2-announcement-policy.ts';
import { ciliumLoadBalancerIpPool } from './cilium-load-balancer-ip-pool.ts';
import { ciliumLocalRedirectPolicy } from './cilium-local-redirect-policy.ts';
import { ciliumClusterwideNetworkPolicy, ciliumNetworkPolicy } from './cilium-network-policy.ts';
import { ciliumNode } from './cilium-node.ts';
import { ciliumNodeConfig } from './cilium-node-config.ts';
import { ciliumPodIpPool } from './cilium-pod-ip-pool.ts';
import { type Crd, type CrdObject, crdObject } from './definition.ts';
import { structural } from './structural.ts';

export const crds: readonly Crd[] = [
  ciliumBgpAdvertisement,
  ciliumBgpClusterConfig,
  ciliumBgpNodeConfig,
  ciliumBgpNodeConfigOverride,
  ciliumBgpPeerConfig,
  ciliumCidrGroup,
  ciliumClusterwideEnvoyConfig,
  ciliumClusterwideNetworkPolicy,
  ciliumEgressGatewayPolicy,
  ciliumEndpoint,
  ciliumEndpointSlice,
  ciliumEnvoyConfig,
  ciliumIdentity,
  ciliumL2AnnouncementPolicy,
  ciliumLoadBalancerIpPool,
  ciliumLocalRedirectPolicy,
  ciliumNetworkPolicy,
  ciliumNode,
  ciliumNodeConfig,
  ciliumPodIpPool,
];

/** What is installed in a cluster. */
export function crdObjects(): CrdObject[] {
  return crds.map(crdObject);
}

const schemas = new Map<string, ReturnType<typeof structural>>();

/** What is wrong with an object of one of our kinds, by field; nothing for kinds that are not ours. */
export function crdViolations(kind: string, object: unknown): Cause[] {
  let schema = schemas.get(kind);
  if (!schema) {
    const version = crds.find((crd) => crd.kind === kind)?.versions[0];
    if (!version) return [];
    schema = structural(version.schema);
    schemas.set(kind, schema);
  }
  return violations(schema, object);
}
