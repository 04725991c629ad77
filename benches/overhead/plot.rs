//! The table as a picture: what a frame of a stream costs, one line a workload, one dot a contender.

use std::fmt::Write as _;

use crate::{
    Goal, Row,
    contenders::{LAYER, TRACE, VALUE},
    support::table::grouped,
};

const WIDTH: f64 = 760.0;
/// Where the axis begins and ends.
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 92.0;
const LINE: f64 = 52.0;

/// Who is drawn, by the class that gives a dot its colour. The last lies on top.
const DOTS: [(&str, &str); 3] = [(VALUE, "value"), (TRACE, "trace"), (LAYER, "layer")];

/// As SVG, light or dark as the reader has it; on a ground of its own, for the page may be the other. Nothing if no stream
/// was measured.
///
/// Dots, not bars: between one and the next lies a factor of ten, so that a length would say nothing.
pub(crate) fn draw(rows: &[Row]) -> Option<String> {
    let is_drawn = |row: &&Row| row.frames > 1 && matches!(row.goal, Some(Goal::Trace(_)));
    let rows: Vec<&Row> = rows.iter().filter(is_drawn).collect();
    let of_frame = |row: &Row, name| (row.cost(name).nanoseconds / row.frames as f64).max(1.0);
    let all = || rows.iter().flat_map(|row| DOTS.map(|(name, _)| of_frame(row, name).log10()));
    let first = all().reduce(f64::min)?.floor();
    let last = all().reduce(f64::max)?.ceil().max(first + 1.0);
    let x = |log: f64| LEFT + (log - first) / (last - first) * (RIGHT - LEFT);
    let bottom = TOP + LINE * rows.len() as f64;

    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 -12 {width} {height}" role="img" aria-labelledby="title">
<title id="title">Time added to a frame of a stream, in nanoseconds: less is better</title>
<style>
  .ground {{ fill: #fff; }}
  text {{ font: 13px system-ui, sans-serif; fill: #171b21; }}
  .quiet {{ fill: #586171; }}
  .strong {{ font-weight: 600; }}
  line {{ stroke: #e1e5ea; }}
  .value {{ fill: #c8440b; }}
  .trace {{ fill: #868f9c; }}
  .layer {{ fill: #2763c4; }}
  @media (prefers-color-scheme: dark) {{
    .ground {{ fill: #171b21; }}
    text {{ fill: #e8ebef; }}
    .quiet {{ fill: #9aa5b3; }}
    line {{ stroke: #2a313a; }}
    .value {{ fill: #ff8f5c; }}
    .layer {{ fill: #76a9ff; }}
  }}
</style>
<rect x="-16" y="-12" width="{width}" height="{height}" rx="8" class="ground"/>
<text x="0" y="18" class="strong">Time added to a frame of a stream, nanoseconds</text>
"#,
        width = WIDTH + 32.0,
        height = bottom + 46.0,
    );
    for ((_, class), (text, at)) in DOTS.into_iter().zip([
        ("buffer + serde_json::Value", 0.0),
        ("TraceLayer", 215.0),
        ("this layer", 325.0),
    ]) {
        let _ = writeln!(svg, r#"<circle cx="{}" cy="46" r="6" class="{class}"/>"#, at + 6.0);
        let _ = writeln!(svg, r#"<text x="{}" y="50">{text}</text>"#, at + 18.0);
    }
    for log in first as i32..=last as i32 {
        let (at, label) = (x(log.into()), grouped(10_f64.powi(log)));
        let _ = writeln!(svg, r#"<line x1="{at:.1}" y1="{}" x2="{at:.1}" y2="{bottom}"/>"#, TOP - 12.0);
        let _ = writeln!(
            svg,
            r#"<text x="{at:.1}" y="{}" text-anchor="middle" class="quiet">{label}</text>"#,
            bottom + 20.0
        );
    }
    for (row, y) in rows.iter().zip((0..).map(|line| TOP + LINE * (f64::from(line) + 0.5))) {
        let name = row.name.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(svg, r#"<text x="0" y="{}">{name}</text>"#, y + 4.0);
        for (contender, class) in DOTS {
            let nanoseconds = of_frame(row, contender);
            let at = x(nanoseconds.log10());
            let _ = writeln!(svg, r#"<circle cx="{at:.1}" cy="{y}" r="6" class="{class}"/>"#);
            // Two that lie together have their numbers above and below.
            let (look, y) = if contender == LAYER { ("strong", y + 20.0) } else { ("quiet", y - 10.0) };
            let number = grouped(nanoseconds);
            let _ = writeln!(
                svg,
                r#"<text x="{at:.1}" y="{y}" text-anchor="middle" class="{look}">{number}</text>"#
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}
