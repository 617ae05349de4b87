// Files into the page: chosen, dropped (folders too), pasted.

/** take: is called with the files, once for each time that some come. */
export function takeFiles(take) {
  const input = document.getElementById("files");
  const overlay = document.getElementById("overlay");
  let depth = 0; // a drag enters and leaves every element on its way

  document.getElementById("choose").onclick = () => input.click();
  input.onchange = () => {
    take([...input.files]);
    input.value = "";
  };
  const hover = (change) => (event) => {
    if (!carriesFiles(event)) return;
    depth = Math.max(0, depth + change);
    overlay.hidden = depth === 0;
  };
  document.addEventListener("dragenter", hover(1));
  document.addEventListener("dragleave", hover(-1));
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    overlay.hidden = true;
    take(await dropped(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => event.clipboardData?.files.length && take([...event.clipboardData.files]));
}

function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

/** The files, and those in folders that are not hidden ones. */
async function dropped(transfer) {
  const files = [...transfer.files]; // gone after the first await
  const entries = [...transfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((each) => each.isDirectory)) return files;
  return (await Promise.all(entries.map(filesOf))).flat().filter((file) => !file.name.startsWith("."));
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...some);
  }
}
