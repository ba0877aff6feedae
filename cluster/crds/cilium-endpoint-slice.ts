/** CiliumEndpointSlice: up to a hundred endpoints of one namespace in one object, for large clusters. */
import { type Static, Type } from 'typebox';
import { encryptionKey, endpointNetworking, namedPort } from './cilium-endpoint.ts';
import type { Crd } from './definition.ts';
import { text } from './shared.ts';

export const ciliumEndpointSliceSchema = Type.Object({
  endpoints: Type.Array(
    Type.Object({
      encryption: Type.Optional(encryptionKey),
      id: Type.Optional(
        Type.Integer({ format: 'int64', description: 'IdentityID is the numeric identity of the endpoint' }),
      ),
      name: Type.Optional(text()),
      'named-ports': Type.Optional(Type.Array(namedPort)),
      networking: Type.Optional(endpointNetworking),
      'pod-uid': Type.Optional(text()),
      'service-account': Type.Optional(text()),
    }),
  ),
  namespace: Type.Optional(
    text(
      'Namespace indicate as CiliumEndpointSlice namespace. All the CiliumEndpoints within the same namespace are put together.',
    ),
  ),
});
export type CiliumEndpointSlice = Static<typeof ciliumEndpointSliceSchema>;

export const ciliumEndpointSlice: Crd = {
  kind: 'CiliumEndpointSlice',
  plural: 'ciliumendpointslices',
  shortNames: ['ces'],
  scope: 'Cluster',
  versions: [{ name: 'v2alpha1', schema: ciliumEndpointSliceSchema }],
};
