/** Light, dark, or as the system says; remembered in this browser. */

const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];
const KEY = 'axoneme-theme';

export function themeNow(): Theme {
  return themes.find((theme) => theme === localStorage.getItem(KEY)) ?? 'system';
}

export const nextTheme = (): Theme => themes[(themes.indexOf(themeNow()) + 1) % themes.length] ?? 'system';

export function useTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  document.documentElement.style.colorScheme = theme === 'system' ? '' : theme;
}
