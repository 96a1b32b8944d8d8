"""The offline demo world: an articulated figure that performs actions with exact phases."""
