// Elements made of names, attributes and texts. Text is only ever text: nothing here reads markup.
const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const make = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
export const draw = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

// A text of the page with {0}, {1} filled in; a part that is an element stays one.
export function said(text, ...parts) {
  return text
    .split(/\{(\d)\}/)
    .map((piece, at) => (at % 2 ? parts[Number(piece)] : piece))
    .filter((piece) => piece !== "");
}
