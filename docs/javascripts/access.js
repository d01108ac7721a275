// What the theme leaves out: for those who use a keyboard or a screen reader, and for those who copy examples.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const element of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, div.arithmatex")) {
    element.tabIndex = 0;
  }
});

// Copying an example copies its statements, without prompts and without what they print.
document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest("[data-clipboard-target]");
    const text = button && document.querySelector(button.dataset.clipboardTarget)?.textContent;
    if (text && /^>>> /m.test(text)) {
      const lines = text.split("\n").filter((line) => /^(>>>|\.\.\.)( |$)/.test(line));
      button.dataset.clipboardText = lines.map((line) => line.slice(4)).join("\n");
    }
  },
  true,
);
