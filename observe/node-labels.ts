/** Labels of this node, as flows carry them: `key=value`, sorted, and frozen, since many flows share them. */
import type { ClusterEvent } from '../cluster/events.ts';

const NONE: readonly string[] = Object.freeze([]);

export class NodeLabels {
  readonly #name: string;
  #labels = NONE;

  constructor(nodeName: string) {
    this.#name = nodeName;
  }

  /** One more event from a watch. */
  readonly hear = (event: ClusterEvent): void => {
    if (event.type !== 'kube.upserted' || event.resource !== 'nodes') return;
    const { name, labels = {} } = event.object.metadata;
    if (name !== this.#name) return;
    const texts = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
    this.#labels = Object.freeze(texts.sort());
  };

  readonly now = (): readonly string[] => this.#labels;
}
