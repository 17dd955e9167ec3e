%%% Whether anything of an attempt can still run: real processes, groups, and what they leave.
-module(py_fence_tests).

-include_lib("eunit/include/eunit.hrl").

%% A program that leads a group of its own, as a port's does.
program(Script) ->
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Script]}, exit_status, {line, 100}, binary]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    %% It leads one a moment after it is there.
    py_eventually:holds(fun() -> py_fence:group(OsPid) =/= error end),
    {ok, Process} = py_fence:group(OsPid),
    {Port, OsPid, Process}.

ended(Port) ->
    receive {Port, {exit_status, _}} -> ok end.

a_process_that_runs_is_in_its_group_and_none_that_has_ended_test_() ->
    {timeout, 30, fun() ->
        {Port, OsPid, #{os_pid := Leader} = Process} = program("read line"),
        ?assertEqual(OsPid, Leader),
        ?assertEqual([OsPid], py_fence:left(Process)),
        ?assert(py_fence:is_alive(Process)),
        py_os_process:kill(OsPid),
        ended(Port),
        ?assertEqual([], py_fence:left(Process)),
        ?assertNot(py_fence:is_alive(Process))
    end}.

what_the_leader_has_forked_and_left_is_in_the_group_test_() ->
    {timeout, 30, fun() ->
        {Port, _, Process} = program("sleep 60 >/dev/null 2>&1 </dev/null & echo $!; read line"),
        Child = receive {Port, {data, {eol, Text}}} -> binary_to_integer(Text) end,
        py_os_process:kill(maps:get(os_pid, Process)),
        ended(Port),
        ?assertEqual([Child], py_fence:left(Process)),
        %% It is given its time, and killed then.
        ok = py_fence:await(Process, fun(_) -> error(told) end),
        ?assertEqual([], py_fence:left(Process)),
        ?assertNot(py_os_process:alive(Child))
    end}.

%% By number alone it would be that one.
a_process_of_another_start_boot_or_namespace_is_none_test_() ->
    {timeout, 30, fun() ->
        {Port, OsPid, Process} = program("read line"),
        [
            begin
                ?assertEqual([], py_fence:left(Process#{Key := <<"0">>})),
                ?assertNot(py_fence:is_alive(Process#{Key := <<"0">>})),
                ok = py_fence:await(Process#{Key := <<"0">>}, fun(_) -> error(told) end)
            end
         || Key <- [started, boot, namespace]
        ],
        ?assert(py_os_process:alive(OsPid)),
        port_close(Port)
    end}.

a_process_that_leads_no_group_is_not_taken_for_its_leader_test() ->
    ?assertEqual(error, py_fence:group(list_to_integer(string:trim(os:cmd("sh -c 'echo $$' 2>&1"))))),
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", "sh -c 'echo $$; read line'; :"]}, {line, 100}, binary]),
    Child = receive {Port, {data, {eol, Text}}} -> binary_to_integer(Text) end,
    ?assertEqual(error, py_fence:group(Child)),
    port_close(Port).

one_that_ends_by_itself_is_waited_for_and_not_killed_test_() ->
    {timeout, 30, fun() ->
        {Port, _, Process} = program("sleep 0.3; exit 7"),
        ok = py_fence:await(Process, fun(_) -> error(told) end),
        receive {Port, {exit_status, Status}} -> ?assertEqual(7, Status) end
    end}.
