//! The yardstick's table: each program's CPU time as a multiple of this machine's own.

use serde_json::{Value, json};

use super::legs::Leg;
use super::reading::{Figures, Passes};

/// Left out of the means: natively it measures how two processors contend for a cache line.
const CONTENTION: &str = "atomics";

/// Factors worth a name, from the worst.
const LIMITS: [f64; 3] = [15.0, 12.0, 8.0];

/// A leg that ended well.
pub struct Measured {
    /// Where it ran.
    pub leg: Leg,
    /// Its times.
    pub figures: Figures,
    /// The share of the processors' time, 0 to 1, that other work took just before.
    pub busy: f64,
}

/// The figures of all legs that ended well.
#[derive(Default)]
pub struct Report {
    /// What machine it was, for the head.
    pub machine: String,
    /// The legs, in the order in which they ran.
    pub legs: Vec<Measured>,
}

impl Report {
    /// The figures of a leg, if it ran.
    fn figures(&self, leg: Leg) -> Option<&Figures> {
        self.legs.iter().find(|measured| measured.leg == leg).map(|measured| &measured.figures)
    }

    /// The legs that are compared with the native one.
    fn guests(&self) -> impl Iterator<Item = &Measured> {
        self.legs.iter().filter(|measured| measured.leg != Leg::Native)
    }

    /// The programs in the order in which they ran.
    fn programs(&self) -> &[String] {
        self.legs.first().map(|measured| measured.figures.order.as_slice()).unwrap_or_default()
    }

    /// What a program takes natively. The warm pass is the measure of both: the machine's own caches and
    /// clock speed are not what is asked for.
    fn native_seconds(&self, program: &str) -> Option<f64> {
        Some(self.figures(Leg::Native)?.seconds.get(program)?.warm)
    }

    /// A program's times as multiples of the native one.
    fn factors(&self, figures: &Figures, program: &str) -> Option<Passes> {
        let native = self.native_seconds(program)?;
        let Passes { cold, warm } = *figures.seconds.get(program)?;
        Some(Passes { cold: cold / native, warm: warm / native })
    }

    /// The geometric means of a leg's factors, and of how many programs.
    fn mean(&self, figures: &Figures) -> Option<(Passes, usize)> {
        let factors: Vec<Passes> = self
            .programs()
            .iter()
            .filter(|program| *program != CONTENTION)
            .filter_map(|program| self.factors(figures, program))
            .collect();
        let count = factors.len();
        if count == 0 {
            return None;
        }
        let mean = |of: fn(&Passes) -> f64| {
            (factors.iter().map(|pass| of(pass).ln()).sum::<f64>() / count as f64).exp()
        };
        Some((Passes { cold: mean(|pass| pass.cold), warm: mean(|pass| pass.warm) }, count))
    }

    /// The table in Markdown, and below it the programs that are slow.
    pub fn markdown(&self) -> String {
        let has_native = self.figures(Leg::Native).is_some();
        let unit = if has_native { "×" } else { "s" };
        let busy =
            self.legs.iter().map(|measured| format!("{} {:.0} %", measured.leg, measured.busy * 100.0));
        let mut lines = vec![
            format!("{}; other work before each: {}", self.machine, busy.collect::<Vec<_>>().join(", ")),
            format!("CPU seconds natively, then cold / warm in {unit}."),
            String::new(),
        ];
        let guests: Vec<_> = self.guests().collect();
        let titles = guests.iter().map(|measured| measured.leg.title().to_owned());
        lines.push(row("program", has_native.then(|| "native, s".to_owned()), titles));
        lines.push(row(
            "---",
            has_native.then(|| "---:".to_owned()),
            guests.iter().map(|_| "---:".to_owned()),
        ));
        for program in self.programs() {
            let native = has_native.then(|| seconds(self.native_seconds(program)));
            let cells = guests.iter().map(|Measured { figures, .. }| {
                if has_native {
                    pair(self.factors(figures, program), |factor| format!("{factor:.1}"))
                } else {
                    pair(figures.seconds.get(program).copied(), |seconds| format!("{seconds:.4}"))
                }
            });
            lines.push(row(program, native, cells));
        }
        if has_native {
            let means = guests.iter().map(|Measured { figures, .. }| {
                let mean = self.mean(figures).map(|(mean, _)| mean);
                format!("**{}**", pair(mean, |factor| format!("{factor:.2}")))
            });
            let count = guests
                .first()
                .and_then(|Measured { figures, .. }| self.mean(figures))
                .map_or(0, |(_, count)| count);
            let name = format!("**geometric mean of {count}, without {CONTENTION}**");
            lines.push(row(&name, Some("1".to_owned()), means));
        }
        let native = self.figures(Leg::Native).map(|figures| ratio(cold_to_warm(figures)));
        let ratios = guests.iter().map(|Measured { figures, .. }| ratio(cold_to_warm(figures)));
        lines.push(row("all cold ÷ all warm", native, ratios));
        for Measured { leg, figures, .. } in &guests {
            lines.extend(self.slow_programs(*leg, figures));
        }
        lines.join("\n")
    }

    /// A line for each band between the limits in which a leg has programs, warm.
    fn slow_programs(&self, leg: Leg, figures: &Figures) -> Vec<String> {
        let mut slow: Vec<(f64, &str)> = self
            .programs()
            .iter()
            .filter(|program| *program != CONTENTION)
            .filter_map(|program| Some((self.factors(figures, program)?.warm, program.as_str())))
            .collect();
        slow.sort_by(|left, right| right.0.total_cmp(&left.0));
        let mut lines = Vec::new();
        let mut above = f64::INFINITY;
        for limit in LIMITS {
            let band: Vec<String> = slow
                .iter()
                .filter(|(factor, _)| *factor > limit && *factor <= above)
                .map(|(factor, program)| format!("{program} {factor:.1}"))
                .collect();
            if !band.is_empty() {
                lines.push(format!("\n{}, warm, above {limit} ×: {}", leg.title(), band.join(", ")));
            }
            above = limit;
        }
        lines
    }

    /// All figures, for other programs.
    pub fn json(&self) -> Value {
        let legs = self.legs.iter().map(|Measured { leg, figures, busy }| {
            let seconds = figures.seconds.iter().map(|(program, Passes { cold, warm })| {
                (program.clone(), json!({ "coldSeconds": cold, "warmSeconds": warm }))
            });
            let mean = self.mean(figures).map(|(Passes { cold, warm }, programs)| {
                json!({ "cold": cold, "warm": warm, "programs": programs })
            });
            let leg_value = json!({
                "programs": seconds.collect::<serde_json::Map<_, _>>(),
                "geometricMeanFactor": mean,
                "coldToWarm": cold_to_warm(figures),
                "otherWorkBefore": busy,
            });
            (leg.name().to_owned(), leg_value)
        });
        json!({ "machine": self.machine, "legs": legs.collect::<serde_json::Map<_, _>>() })
    }
}

/// How much longer a leg's first pass took than its second, if more ran than what is left out.
fn cold_to_warm(figures: &Figures) -> Option<f64> {
    let sum = |of: fn(&Passes) -> f64| -> f64 {
        figures
            .seconds
            .iter()
            .filter(|(program, _)| *program != CONTENTION)
            .map(|(_, passes)| of(passes))
            .sum()
    };
    let warm = sum(|passes| passes.warm);
    (warm > 0.0).then(|| sum(|passes| passes.cold) / warm)
}

/// A row of the table.
fn row(name: &str, native: Option<String>, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = native.into_iter().chain(cells).collect();
    format!("| {name} | {} |", cells.join(" | "))
}

/// A ratio, or a dash.
fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

/// A time, or a dash.
fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

/// Both passes, or a dash.
fn pair(passes: Option<Passes>, text: impl Fn(f64) -> String) -> String {
    passes.map_or_else(|| "–".to_owned(), |Passes { cold, warm }| format!("{} / {}", text(cold), text(warm)))
}

#[cfg(test)]
mod tests {
    use super::{Measured, Report};
    use crate::bench::legs::Leg;
    use crate::bench::reading::{Figures, Passes};

    fn measured(leg: Leg, programs: &[(&str, f64, f64)]) -> Measured {
        let figures = Figures {
            order: programs.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            seconds: programs
                .iter()
                .map(|(name, cold, warm)| ((*name).to_owned(), Passes { cold: *cold, warm: *warm }))
                .collect(),
        };
        Measured { leg, figures, busy: 0.02 }
    }

    fn report() -> Report {
        Report {
            machine: "a machine".to_owned(),
            legs: vec![
                measured(Leg::Native, &[("sh_10k", 0.2, 0.1), ("fib", 0.01, 0.01), ("atomics", 1.0, 1.0)]),
                measured(Leg::Node, &[("sh_10k", 2.0, 1.6), ("fib", 0.16, 0.01), ("atomics", 900.0, 100.0)]),
            ],
        }
    }

    #[test]
    fn factors_are_of_the_native_warm_pass_and_means_are_without_atomics() {
        let expected = "\
a machine; other work before each: native 2 %, node 2 %
CPU seconds natively, then cold / warm in ×.

| program | native, s | node |
| --- | ---: | ---: |
| sh_10k | 0.1000 | 20.0 / 16.0 |
| fib | 0.0100 | 16.0 / 1.0 |
| atomics | 1.0000 | 900.0 / 100.0 |
| **geometric mean of 2, without atomics** | 1 | **17.89 / 4.00** |
| all cold ÷ all warm | 1.91 | 1.34 |

node, warm, above 15 ×: sh_10k 16.0";
        assert_eq!(report().markdown(), expected);
    }

    #[test]
    fn each_slow_program_is_named_once_in_its_band() {
        let mut report = report();
        report.legs = vec![
            measured(Leg::Native, &[("a", 1.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 1.0), ("d", 1.0, 1.0)]),
            measured(Leg::Tcg, &[("a", 9.0, 8.0), ("b", 9.0, 8.1), ("c", 20.0, 15.0), ("d", 20.0, 99.0)]),
        ];
        let text = report.markdown();
        let slow: Vec<&str> = text.lines().filter(|line| line.contains("above")).collect();
        let expected = [
            "QEMU TCG, warm, above 15 ×: d 99.0",
            "QEMU TCG, warm, above 12 ×: c 15.0",
            "QEMU TCG, warm, above 8 ×: b 8.1",
        ];
        assert_eq!(slow, expected);
    }

    #[test]
    fn without_the_native_leg_seconds_are_shown() {
        let mut report = report();
        report.legs.remove(0);
        let text = report.markdown();
        assert!(text.contains("cold / warm in s."), "{text}");
        assert!(text.contains("| fib | 0.1600 / 0.0100 |"), "{text}");
        assert!(!text.contains("mean"), "{text}");
    }

    #[test]
    fn a_report_of_nothing_has_no_means() {
        let report = Report::default();
        assert_eq!(report.json()["legs"], serde_json::json!({}));
        assert!(!report.markdown().contains('×'));
    }

    #[test]
    fn the_json_holds_seconds_means_and_ratios() {
        let json = report().json();
        let node = &json["legs"]["node"];
        assert_eq!(node["programs"]["fib"]["coldSeconds"], 0.16);
        assert_eq!(node["geometricMeanFactor"]["programs"], 2);
        assert!((node["geometricMeanFactor"]["warm"].as_f64().unwrap() - 4.0).abs() < 1e-9);
        assert!((node["coldToWarm"].as_f64().unwrap() - 2.16 / 1.61).abs() < 1e-9);
    }
}
