%%% A handler of `logger' that tells a process what was logged, and in whose name.
-module(py_threads_log).

-export([log/2]).

log(#{msg := Message, meta := #{gl := Leader}}, #{config := Test}) -> Test ! {logged, unicode:characters_to_list(text(Message)), Leader};
log(_Event, _Config) -> ok.

text({string, Text}) -> Text;
text({report, Report}) -> io_lib:format("~p", [Report]);
text({Format, Args}) -> io_lib:format(Format, Args).
