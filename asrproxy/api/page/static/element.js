// Makes elements. Text is only ever set as text: nothing here, and no other file, writes markup.

/**
 * A new element. Names in `properties` are the element's own (`className`, `onclick`, …), `data-`, `aria-` and `role` are attributes;
 * what is undefined is left out. Children: elements, texts, or null for none.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name === "role" || name === "lang" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** One of the drawings at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  svg.firstChild.setAttribute("href", `#i-${name}`);
  return svg;
}

/** Makes an icon that is shown another one. */
export function reicon(svg, name) {
  svg.querySelector("use").setAttribute("href", `#i-${name}`);
}

/**
 * Makes `root` hold `children`, changing only what differs: focus, a selection, an open detail and a reader's place stay where they are.
 */
export function patch(root, children) {
  const old = [...root.childNodes];
  children.forEach((child, index) => {
    if (!old[index]) root.append(child);
    else if (!same(old[index], child)) old[index].replaceWith(child);
    else if (child.nodeType === Node.TEXT_NODE) update(old[index], child);
    else {
      for (const { name } of [...old[index].attributes]) if (!child.hasAttribute(name) && name !== "open") old[index].removeAttribute(name);
      for (const { name, value } of child.attributes) {
        if (old[index].getAttribute(name) === value) continue;
        if (name === "style")
          old[index].style.cssText = child.style.cssText; // as an attribute it would be inline, which the page forbids itself
        else old[index].setAttribute(name, value);
      }
      old[index].onclick = child.onclick;
      patch(old[index], [...child.childNodes]);
    }
  });
  for (const each of old.slice(children.length)) each.remove();
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.id === b.id;
}

function update(old, text) {
  if (old.data !== text.data) old.data = text.data;
}
