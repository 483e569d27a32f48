"use strict";
(() => {
  const root = document.documentElement;
  const table = document.getElementById("rows");

  // Rows: sorting and filtering

  const body = table ? table.tBodies[0] : null;
  const rows = body ? [...body.rows] : [];

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.key !== undefined) {
      return cell.dataset.key === "inf" ? Infinity : Number(cell.dataset.key);
    }
    return cell.textContent === "-" ? null : cell.textContent;
  };

  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") {
      return one - other;
    }
    return String(one).localeCompare(String(other), "en", { numeric: true });
  };

  const sortBy = (heading, column) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) {
      other.removeAttribute("aria-sort");
    }
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map((row, at) => ({ row, at, value: valueOf(row, column) }));
    keyed.sort((one, other) => {
      if (one.value === null || other.value === null) {
        return (one.value === null) - (other.value === null) || one.at - other.at; // not measured: last
      }
      return (down ? -1 : 1) * compare(one.value, other.value) || one.at - other.at;
    });
    body.append(...keyed.map((one) => one.row));
  };

  const filters = document.getElementById("filters");

  const filter = () => {
    const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...filters.querySelectorAll("select")].filter((one) => one.value);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => text.includes(word)) &&
        chosen.every((one) => row.getAttribute(`data-${one.dataset.tag.replace("_", "-")}`) === one.value)
      );
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
  };

  if (table) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => sortBy(heading, column));
    });
    filters.hidden = false;
    filters.addEventListener("input", filter);
    filters.addEventListener("reset", () => setTimeout(filter));
    filters.addEventListener("submit", (event) => event.preventDefault());
    filter();
  }

  const goTo = (at) => {
    const row = document.getElementById(`row-${at}`);
    if (row) {
      row.hidden = false;
      row.scrollIntoView({ block: "center" });
      row.focus({ preventScroll: true });
    }
  };

  // Charts, drawn when they come into sight

  const held = document.getElementById("figures");
  const figures = held ? JSON.parse(held.textContent) : {};
  const drawn = new Set();

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const themed = (layout) => {
    const axis = (own) => ({
      ...own,
      gridcolor: colour("--grid"),
      linecolor: colour("--line"),
      tickcolor: colour("--line"),
    });
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      xaxis: axis(layout.xaxis),
      yaxis: axis(layout.yaxis),
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colour("--faint") } })),
    };
  };

  // Plotly is as large as all the rest together: it lies in the page as text until the first chart is drawn, so that
  // the rows need not wait for it.
  const loadPlotly = () => {
    if (!window.Plotly) {
      const program = document.createElement("script");
      program.textContent = document.getElementById("plotly").textContent;
      document.head.append(program);
    }
  };

  const draw = (name) => {
    loadPlotly();
    const place = document.getElementById(name);
    const { data, layout } = figures[name];
    const settings = { displayModeBar: false, responsive: true };
    Plotly.react(place, data, themed(layout), settings);
    if (!drawn.has(name)) {
      drawn.add(name);
      place.on("plotly_click", (event) => {
        const at = event.points.map((point) => point.customdata).find((one) => one !== undefined);
        if (at !== undefined) {
          goTo(Array.isArray(at) ? at[0] : at);
        }
      });
    }
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          draw(entry.target.id);
        }
      }
    },
    { rootMargin: "200px" },
  );
  for (const name of Object.keys(figures)) {
    seen.observe(document.getElementById(name));
  }

  const redraw = () => drawn.forEach(draw);

  // Dark or light: as the system says, until the reader says otherwise

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", redraw);
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    redraw();
  });

  window.addEventListener("beforeprint", () => {
    root.dataset.before = root.dataset.theme || "";
    root.dataset.theme = "light";
    Object.keys(figures).forEach(draw);
  });
  window.addEventListener("afterprint", () => {
    if (root.dataset.before) {
      root.dataset.theme = root.dataset.before;
    } else {
      delete root.dataset.theme;
    }
    redraw();
  });
})();
