%%% Programs that are run for what they print.
-module(py_program_tests).

-include_lib("eunit/include/eunit.hrl").

run(Script, Timeout) -> py_program:run("/bin/sh", [{args, ["-c", Script]}], Timeout).

what_it_prints_comes_with_its_status_test() ->
    ?assertEqual({3, <<"out\nerr\n">>}, run("echo out; echo err >&2; exit 3", 10_000)),
    ?assertMatch({enoent, _}, py_program:run("/no/such", [], 1_000)).

one_that_takes_too_long_is_given_up_test() ->
    ?assertEqual({timeout, <<"tea\n">>}, run("echo tea; exec sleep 60", 300)),
    none_is_left().

%% With what it has started, whatever it makes of signals and of a pipe that nobody reads.
one_that_is_given_up_ends_test_() ->
    {timeout, 30, fun() ->
        {timeout, Said} = run("trap '' TERM HUP PIPE; echo $$; while :; do sleep 60 & echo $!; wait; done", 1_000),
        OsPids = [binary_to_integer(OsPid) || OsPid <- binary:split(Said, <<"\n">>, [global, trim])],
        ?assertMatch([_, _], OsPids),
        py_eventually:equals([], fun() -> [OsPid || OsPid <- OsPids, py_os_process:alive(OsPid)] end)
    end}.

%% By its bytes or by its time, whichever comes first.
one_that_prints_without_end_is_given_up_test_() ->
    {timeout, 30, fun() ->
        {_, Said} = run("exec yes", 20_000),
        ?assertEqual(4 bsl 20, byte_size(Said)),
        {_, Less} = run("while :; do echo tea; sleep 0.01; done", 300),
        ?assert(byte_size(Less) < 10_000),
        none_is_left()
    end}.

none_is_left() ->
    receive {Port, Message} when is_port(Port) -> error({left, Message}) after 100 -> ok end.
