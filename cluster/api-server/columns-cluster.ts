/** Columns of namespaces, nodes and the plain data kinds. */
import { ageColumn, column, conditionStatus, nameColumn } from './columns-shared.ts';
import { type ApiObject, arrayAt, type Column, fieldAt, stringAt } from './types.ts';

const rolePrefix = 'node-role.kubernetes.io/';

function nodeStatus(node: ApiObject): string {
  const ready = conditionStatus(node, 'Ready');
  const words = [ready === 'True' ? 'Ready' : ready === '' ? 'Unknown' : 'NotReady'];
  if (fieldAt(node, 'spec', 'unschedulable') === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function nodeRoles(node: ApiObject): string {
  const roles = Object.keys(node.metadata.labels ?? {})
    .filter((key) => key.startsWith(rolePrefix))
    .map((key) => key.slice(rolePrefix.length));
  return roles.sort().join(',') || '<none>';
}

const nodeAddress = (node: ApiObject, type: string): string => {
  const address = arrayAt(node, 'status', 'addresses').find((entry) => stringAt(entry, 'type') === type);
  return stringAt(address, 'address') || '<none>';
};

const nodeInfo = (node: ApiObject, field: string): string => stringAt(node, 'status', 'nodeInfo', field) || '<unknown>';
const dataCount = (object: ApiObject): number =>
  Object.keys((object.data ?? {}) as object).length + Object.keys((object.binaryData ?? {}) as object).length;

export const clusterColumns: Record<string, readonly Column[]> = {
  Namespace: [nameColumn, column('Status', (namespace) => stringAt(namespace, 'status', 'phase')), ageColumn],
  Node: [
    nameColumn,
    column('Status', nodeStatus),
    column('Roles', nodeRoles),
    ageColumn,
    column('Version', (node) => stringAt(node, 'status', 'nodeInfo', 'kubeletVersion')),
    column('Internal-IP', (node) => nodeAddress(node, 'InternalIP'), { wide: true }),
    column('External-IP', (node) => nodeAddress(node, 'ExternalIP'), { wide: true }),
    column('OS-Image', (node) => nodeInfo(node, 'osImage'), { wide: true }),
    column('Kernel-Version', (node) => nodeInfo(node, 'kernelVersion'), { wide: true }),
    column('Container-Runtime', (node) => nodeInfo(node, 'containerRuntimeVersion'), { wide: true }),
  ],
  ConfigMap: [nameColumn, column('Data', dataCount, { type: 'integer' }), ageColumn],
  Secret: [
    nameColumn,
    column('Type', (secret) => stringAt(secret, 'type')),
    column('Data', dataCount, { type: 'integer' }),
    ageColumn,
  ],
  ServiceAccount: [
    nameColumn,
    column('Secrets', (account) => arrayAt(account, 'secrets').length, { type: 'integer' }),
    ageColumn,
  ],
  CustomResourceDefinition: [
    nameColumn,
    column('Created At', (definition) => definition.metadata.creationTimestamp ?? '<unknown>'),
  ],
};
