/** The peers of a policy element. Semantics: policy/. */
import { Type } from 'typebox';
import { fqdnName, fqdnPattern } from './policy-ports.ts';
import { cidr, labelSelector, oneOfFields, text, texts } from './shared.ts';

export const entities = [
  'all',
  'world',
  'cluster',
  'cluster-mesh',
  'host',
  'init',
  'ingress',
  'unmanaged',
  'remote-node',
  'health',
  'none',
  'kube-apiserver',
  'world-ipv4',
  'world-ipv6',
] as const;

const cidrRule = Type.Object(
  {
    cidr: Type.Optional(cidr),
    cidrGroupRef: Type.Optional(
      Type.String({ maxLength: 253, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$' }),
    ),
    cidrGroupSelector: Type.Optional(labelSelector),
    except: Type.Optional(
      Type.Array(cidr, { description: 'Prefixes inside `cidr` that this element does not select.' }),
    ),
  },
  oneOfFields('cidr', 'cidrGroupRef', 'cidrGroupSelector'),
);

const groups = Type.Object({
  aws: Type.Optional(
    Type.Object({
      labels: Type.Optional(Type.Record(Type.String(), Type.String())),
      region: Type.Optional(text()),
      securityGroupsIds: Type.Optional(texts()),
      securityGroupsNames: Type.Optional(texts()),
    }),
  ),
});

const endpoints = Type.Optional(Type.Array(labelSelector));
const cidrs = Type.Optional(Type.Array(cidr));
const cidrSet = Type.Optional(Type.Array(cidrRule));
const entityList = Type.Optional(Type.Array(Type.Enum([...entities])));
const nodes = Type.Optional(Type.Array(labelSelector));
const groupList = Type.Optional(Type.Array(groups));
/** Removed in Cilium 1.19: accepted only when empty, so that it cannot be ignored in silence. */
const requires = Type.Optional(Type.Array(labelSelector, { maxItems: 0 }));

export const ingressPeers = {
  fromCIDR: cidrs,
  fromCIDRSet: cidrSet,
  fromEndpoints: endpoints,
  fromEntities: entityList,
  fromGroups: groupList,
  fromNodes: nodes,
  fromRequires: requires,
};

export const egressPeers = {
  toCIDR: cidrs,
  toCIDRSet: cidrSet,
  toEndpoints: endpoints,
  toEntities: entityList,
  toGroups: groupList,
  toNodes: nodes,
  toRequires: requires,
  toServices: Type.Optional(
    Type.Array(
      Type.Object({
        k8sService: Type.Optional(
          Type.Object({ namespace: Type.Optional(text()), serviceName: Type.Optional(text()) }),
        ),
        k8sServiceSelector: Type.Optional(Type.Object({ namespace: Type.Optional(text()), selector: labelSelector })),
      }),
    ),
  ),
};

export const toFqdns = Type.Optional(
  Type.Array(
    Type.Object(
      { matchName: Type.Optional(fqdnName), matchPattern: Type.Optional(fqdnPattern) },
      oneOfFields('matchName', 'matchPattern'),
    ),
  ),
);
