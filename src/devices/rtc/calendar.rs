//! Calendar dates from seconds since 1970 and back, by the proleptic Gregorian calendar, UTC.

use serde::{Deserialize, Serialize};

/// A point in calendar time, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateTime {
    /// Year, e.g. 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const DAY: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const DAYS_OF_CYCLE: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Days from March 1st to the first of a month, counted from March (0) to February (11).
fn days_before(month_from_march: i64) -> i64 {
    (153 * month_from_march + 2) / 5
}

impl DateTime {
    /// The date of a number of seconds since 1970-01-01T00:00:00Z.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Years begin in March here, so that the leap day is a year's last.
        let days = days + EPOCH;
        let (cycle, day_of_cycle) = (days.div_euclid(DAYS_OF_CYCLE), days.rem_euclid(DAYS_OF_CYCLE));
        let leap_days_before = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
        let year_of_cycle = (day_of_cycle - leap_days_before) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: cycle * 400 + year_of_cycle + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - days_before(month_from_march) + 1) as u8,
            hour: (second / 3_600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z. Days and months out of range run over into the next.
    pub fn to_unix(self) -> i64 {
        let month = i64::from(self.month.clamp(1, 12));
        let year = self.year - i64::from(month <= 2);
        let month_from_march = (month + 9) % 12;
        let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_cycle = 365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100
            + days_before(month_from_march)
            + i64::from(self.day)
            - 1;
        let days = cycle * DAYS_OF_CYCLE + day_of_cycle - EPOCH;
        days * DAY + i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// Day of the week, 1 (Sunday) to 7.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        ((self.to_unix().div_euclid(DAY) + 4).rem_euclid(7) + 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_convert_both_ways() {
        let cases = [
            (0, (1970, 1, 1, 0, 0, 0), 5),
            (951_782_400, (2000, 2, 29, 0, 0, 0), 3),
            (1_767_225_599, (2025, 12, 31, 23, 59, 59), 4),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0), 2),
        ];
        for (unix, (year, month, day, hour, minute, second), weekday) in cases {
            let date = DateTime { year, month, day, hour, minute, second };
            assert_eq!(DateTime::from_unix(unix), date);
            assert_eq!(date.to_unix(), unix);
            assert_eq!(date.weekday(), weekday, "{date:?}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_converts_back() {
        for day in 0..DAYS_OF_CYCLE {
            let unix = day * DAY + day % DAY;
            assert_eq!(DateTime::from_unix(unix).to_unix(), unix);
        }
    }
}
