"""An experiment file -> runs, and what a report needs of them."""
