/* Paper has no "click to open": unfold everything while printing. */
(() => {
  "use strict";
  let folded = [];
  const unfold = () => {
    folded = folded.concat([...document.querySelectorAll("details:not([open])")]);
    for (const part of folded) part.open = true;
  };
  const fold = () => {
    for (const part of folded) part.open = false;
    folded = [];
  };
  addEventListener("beforeprint", unfold);
  addEventListener("afterprint", fold);
})();
