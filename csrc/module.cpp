// The Python module dupo._C.
//
// pybind11 is included here and in bindings_*.cpp alone; every other file is pure C++17.
#include <pybind11/pybind11.h>

void bind_batches(pybind11::module_& m);  // bindings_batches.cpp
void bind_numbers(pybind11::module_& m);  // bindings_numbers.cpp

PYBIND11_MODULE(_C, m) {
    m.doc() = "C++ twins of dupo/text/packing.py, assembly.py and numbers/. Call the functions of dupo.text.";
    bind_batches(m);
    bind_numbers(m);
}
