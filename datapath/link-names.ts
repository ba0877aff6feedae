/** Names and numbers of the links of one namespace, always as they are now: a name may come back with another number. */
import { ifIndexToName, ifNameToIndex, isErrno } from '../native/index.ts';
import type { LinkNames } from './codec.ts';

/** Undefined: the namespace of the process. */
export function linkNames(netns?: string): LinkNames {
  return {
    indexOf: (name) => ifNameToIndex(name, netns),
    nameOf(index) {
      try {
        return ifIndexToName(index, netns);
      } catch (error) {
        if (isErrno(error, 'ENXIO', 'ENODEV')) return undefined;
        throw error;
      }
    },
  };
}
