//! Packs the dashboard: Chart.js out of its build-dependency, and the page, script and style of `src/manage/dashboard`,
//! each as it is and compressed, under an address that changes when they do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    interleave();
    #[cfg(feature = "dashboard")]
    dashboard::pack();
}

/// Unit tests on threads that a test's scheduler runs, if asked for; see `src/sync.rs`. Not by a flag to the compiler,
/// with which all dependencies would be built anew, nor by a feature, which others could switch on.
fn interleave() {
    println!("cargo::rustc-check-cfg=cfg(interleaved)");
    println!("cargo::rerun-if-env-changed=INTERLEAVED");
    if std::env::var_os("INTERLEAVED").is_some() {
        println!("cargo::rustc-cfg=interleaved");
    }
}

#[cfg(feature = "dashboard")]
mod dashboard {
    use std::{
        env,
        fmt::Write as _,
        fs,
        path::{Path, PathBuf},
    };

    use rustlavel_chart::plugin::CHART_JS;
    use sha2::{Digest, Sha256};

    /// `dist/chart.umd.js` of version 4.5.1, as its makers published it.
    const CHART_JS_SHA256: &str = "ecc3cd1eeb8c34d2178e3f59fd63ec5a3d84358c11730af0b9958dc886d7652a";

    const SOURCE: &str = "src/manage/dashboard";

    pub(super) fn pack() {
        println!("cargo::rerun-if-changed={SOURCE}");
        let found = hash(CHART_JS.as_bytes());
        assert_eq!(
            found, CHART_JS_SHA256,
            "the Chart.js of rustlavel-chart is not the one that was published"
        );

        let mut loaded = vec![("chart.js".to_owned(), CHART_JS.as_bytes().to_vec())];
        let mut page = String::new();
        for file in fs::read_dir(SOURCE).expect("the dashboard is there") {
            let path = file.expect("the dashboard can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
            let bytes = fs::read(&path).expect("the dashboard can be read");
            match name.as_str() {
                "index.html" => page = String::from_utf8(bytes).expect("the page is UTF-8"),
                _ => loaded.push((name, bytes)),
            }
        }
        loaded.sort();

        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("dashboard");
        fs::create_dir_all(&out).expect("there is room for what is built");

        // All of it under one name, so that the modules find each other beside themselves, whatever that name is.
        let mut together = Vec::new();
        for (name, bytes) in &loaded {
            together.extend_from_slice(format!("{name} {} ", hash(bytes)).as_bytes());
        }
        let version = &hash(&together)[..16];

        let mut table = format!("const VERSION: &str = {version:?};\n");
        // From `metrics/ui` they lie in `ui/`, from `metrics/ui/` beside it.
        for (constant, name, base) in [("PAGE", "page", "ui/"), ("PAGE_INSIDE", "page-inside", "")] {
            let page = page.replace("{assets}", &format!("{base}{version}"));
            let file = file(&out, name, "text/html; charset=utf-8", page.as_bytes());
            let _ = writeln!(table, "static {constant}: File = {file};");
        }
        table.push_str("static LOADED: &[(&str, File)] = &[\n");
        for (name, bytes) in &loaded {
            let content_type = match name.rsplit_once('.') {
                Some((_, "js")) => "text/javascript; charset=utf-8",
                Some((_, "css")) => "text/css; charset=utf-8",
                _ => panic!("{name}: nothing that a page loads"),
            };
            let _ = writeln!(table, "    ({name:?}, {}),", file(&out, name, content_type, bytes));
        }
        table.push_str("];\n");
        fs::write(out.join("files.rs"), table).expect("there is room for what is built");
    }

    /// Writes a file in its three forms, and says so in Rust.
    fn file(out: &Path, name: &str, content_type: &str, bytes: &[u8]) -> String {
        let write = |form: &str, bytes: &[u8]| {
            let path = out.join(format!("{name}.{form}"));
            fs::write(&path, bytes).expect("there is room for what is built");
            format!("include_bytes!({path:?})")
        };
        format!(
            "File {{ content_type: {content_type:?}, hash: {:?}, plain: {}, gzip: {}, br: {} }}",
            &hash(bytes)[..16],
            write("plain", bytes),
            write("gzip", &gzip(bytes)),
            write("br", &br(bytes)),
        )
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        zopfli::compress(zopfli::Options::default(), zopfli::Format::Gzip, bytes, &mut packed)
            .expect("memory takes it all");
        packed
    }

    fn br(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let params = brotli::enc::BrotliEncoderParams { size_hint: bytes.len(), ..Default::default() };
        brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params).expect("memory takes it all");
        packed
    }

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
