//! Distances on the globe.

/// A point on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    /// Degrees north of the equator.
    pub latitude: f64,
    /// Degrees east of Greenwich.
    pub longitude: f64,
}

impl Coordinates {
    /// The distance to another point along the surface, in kilometres.
    ///
    /// The haversine formula (R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984, p. 159)
    /// on a sphere of the mean Earth radius (IUGG, R1 = 6371.0088 km). It is wrong by at most about 0.5%,
    /// because the Earth is no sphere: far less than what the place of an address is known to.
    pub fn distance(self, other: Self) -> f64 {
        const EARTH_RADIUS: f64 = 6371.0088;
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let across = (other.longitude - self.longitude).to_radians();
        let haversine = half_sine(there - here) + here.cos() * there.cos() * half_sine(across);
        2.0 * EARTH_RADIUS * haversine.min(1.0).sqrt().asin()
    }
}

fn half_sine(angle: f64) -> f64 {
    (angle / 2.0).sin().powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates {
            latitude,
            longitude,
        }
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        let frankfurt = at(50.1109, 8.6821);
        // Great-circle distances, from any atlas, in km.
        for (place, expected) in [
            (at(40.7128, -74.0060), 6_205.0),   // New York
            (at(1.3521, 103.8198), 10_280.0),   // Singapore
            (at(-33.8688, 151.2093), 16_481.0), // Sydney
        ] {
            let found = frankfurt.distance(place);
            assert!(
                (found - expected).abs() < expected * 0.005,
                "{found} {expected}"
            );
            assert!((found - place.distance(frankfurt)).abs() < 1e-6);
        }
        assert!(frankfurt.distance(frankfurt) < 1e-9);
    }

    #[test]
    fn the_date_line_and_the_poles_are_no_walls() {
        assert!((at(0.0, 179.5).distance(at(0.0, -179.5)) - 111.2).abs() < 0.1);
        assert!(at(90.0, 0.0).distance(at(90.0, 135.0)) < 1e-6);
        let half_way_round = at(0.0, 0.0).distance(at(0.0, 180.0));
        assert!((half_way_round - 20_015.1).abs() < 0.2, "{half_way_round}");
    }
}
