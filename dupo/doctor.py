"""stub"""
from dupo.config.command_line import OneLineParser
def parser():
    p = OneLineParser(prog="dupo doctor")
    p.add_argument("--json", action="store_true", help="as JSON")
    return p
