/** What all views share: where the page stands (in its address), the nodes, and the drawing of it all. */
import type { TemplateResult } from 'lit-html';
import type { PageNode } from '../page.ts';
import type { Replay } from './replay-bar.ts';

export const views = ['map', 'flows', 'machines', 'health'] as const;
export type ViewName = (typeof views)[number];

export interface View {
  /** The view is shown, or its place changed. */
  enter(app: App): void;
  leave(): void;
  draw(app: App): TemplateResult;
  /** True: the key was the view's. */
  key?(event: KeyboardEvent, app: App): boolean;
  /** The moment of a replay changed, or another node was chosen: what is shown is old. */
  refresh?(): void;
}

export interface Place {
  view: ViewName;
  /** What comes after the view: a machine's key. */
  rest: string;
  params: URLSearchParams;
}

export interface App {
  nodes: PageNode[];
  /** '': all of them. */
  node: string;
  place: Place;
  replay: Replay | undefined;
  /** Where paths of the chosen node begin; of all together when none is chosen. */
  base(): string;
  /** The chosen node, or the first one: for views of one node. */
  oneNode(): PageNode | undefined;
  go(view: ViewName, rest?: string, params?: Record<string, string>): void;
  /** Soon, once for all that changed. */
  redraw(): void;
}

export function placeOf(hash: string): Place {
  const text = hash.replace(/^#\/?/, '');
  const question = text.indexOf('?');
  const path = question < 0 ? text : text.slice(0, question);
  const [first = '', ...rest] = path.split('/');
  const view = views.find((name) => name === first) ?? 'map';
  return {
    view,
    rest: decodeURIComponent(rest.join('/')),
    params: new URLSearchParams(question < 0 ? '' : text.slice(question + 1)),
  };
}

export function hashOf(view: ViewName, rest: string, params: URLSearchParams): string {
  const path = rest ? `/${encodeURIComponent(rest)}` : '';
  const query = params.toString();
  return `#/${view}${path}${query ? `?${query}` : ''}`;
}
