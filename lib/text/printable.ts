/** C0 and C1 controls but tab and newline, and what turns text around, hides it or breaks its line (Unicode Bidi, separators). */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Surrogate}/gu;

const escaped = (character: string): string => {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
};

/** Text for a terminal: nothing in it moves the cursor, changes colours or reads other than it is. Lines and tabs stay. */
export const printableLines = (text: string): string => text.replace(UNSAFE, escaped);

/** The same in one line, for messages, events and conditions. */
export const printable = (text: string): string =>
  printableLines(text).replace(/[\n\t]/g, (c) => (c === '\n' ? '\\n' : '\\t'));

/** JSON that says the same, with nothing in it that a terminal would obey. */
export const printableJson = (json: string): string =>
  json.replace(UNSAFE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
