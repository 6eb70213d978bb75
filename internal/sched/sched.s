// This file has the compiler take a function without a body.
