%%% What a connection may make the node keep, whatever it says: atoms, memory, answers that it does not read, files that it holds.
-module(py_gateway_bounds_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    compressed_frames_are_none/1,
    others_than_drivers_bring_no_atoms/1,
    others_than_drivers_say_nothing_large/1,
    atoms_of_one_driver_leave_some_for_others/1,
    requests_beyond_the_bound_fail_alone/1,
    who_does_not_read_is_not_read/1,
    who_is_killed_while_it_is_not_read_is_forgotten/1,
    texts_that_look_like_shared_memory_are_texts/1,
    a_body_that_is_no_call_reaches_no_worker/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        compressed_frames_are_none,
        others_than_drivers_bring_no_atoms,
        others_than_drivers_say_nothing_large,
        atoms_of_one_driver_leave_some_for_others,
        requests_beyond_the_bound_fail_alone,
        who_does_not_read_is_not_read,
        who_is_killed_while_it_is_not_read_is_forgotten,
        texts_that_look_like_shared_memory_are_texts,
        a_body_that_is_no_call_reaches_no_worker
    ].

init_per_testcase(_Case, Config) -> py_driver:gateway(Config).

%% The gateway serves still, and nobody is connected.
end_per_testcase(_Case, Config) -> py_driver:still_serves(Config).

connect(Role, Config) -> py_driver:connect(?config(path, Config), #{role => Role}).

%% A frame of a term's bytes.
framed(Bytes) -> [<<(byte_size(Bytes)):32>>, Bytes].

%% How large what is compressed is would show when it is there.
compressed_frames_are_none(Config) ->
    [
        begin
            {_, Driver} = connect(Role, Config),
            Bytes = term_to_binary({status, 1, binary:copy(<<0>>, 100_000)}, [{compressed, 9}]),
            <<131, $P, _/binary>> = Bytes,
            py_driver:bytes(Driver, framed(Bytes)),
            ?assertMatch({Role, {refused, bad_message, <<"a frame that is no message">>}}, {Role, py_driver:next(Driver)})
        end
     || Role <- [driver, front, observer]
    ].

others_than_drivers_bring_no_atoms(Config) ->
    [
        begin
            {_, Driver} = connect(Role, Config),
            Names = names(Role, 100),
            py_driver:bytes(Driver, framed(<<131, 104, 2, 119, 6, "status", (list(Names))/binary>>)),
            ?assertMatch({Role, {refused, bad_message, _}}, {Role, py_driver:next(Driver)}),
            [?assertError(badarg, binary_to_existing_atom(Name)) || Name <- Names]
        end
     || Role <- [front, observer]
    ].

names(What, Count) ->
    [iolist_to_binary(io_lib:format("tea_~ts_~w_~w", [What, erlang:unique_integer([positive]), N])) || N <- lists:seq(1, Count)].

%% A list of atoms, without the version.
list(Names) -> <<108, (length(Names)):32, (<< <<119, (byte_size(Name)), Name/binary>> || Name <- Names >>)/binary, 106>>.

others_than_drivers_say_nothing_large(Config) ->
    Numbers = lists:duplicate(60_000, 1),
    {#{packet_bytes := Most}, Observer} = connect(observer, Config),
    ?assertEqual(65_536, Most),
    py_driver:bytes(Observer, <<(Most + 1):32, 131, 104, 2>>),
    ?assertMatch({refused, bad_frame, _}, py_driver:next(Observer)),
    [
        begin
            {_, Front} = connect(front, Config),
            py_driver:send(Front, {submit, 1, Route, <<>>}),
            ?assertMatch({refused, bad_message, _}, py_driver:next(Front))
        end
     || Route <- [#{service => [Numbers, Numbers]}, #{service => self()}, #{service => fun erlang:halt/0}]
    ].

atoms_of_one_driver_leave_some_for_others(Config) ->
    {_, Driver} = connect(driver, Config),
    #{connection := Most} = py_config:max_connection_atoms(),
    ?assert(Most < py_config:max_new_atoms() div 2),
    Bring = fun(Of, Id, Count) ->
        py_driver:bytes(Of, framed(<<131, 104, 5, 119, 4, "call", 97, Id, 119, 6, "erlang", 119, 6, "length", 108, 1:32, (list(names(driver, Count)))/binary, 106>>)),
        py_driver:answer(Of, Id)
    end,
    ?assertEqual([{result, Id, 1_000} || Id <- lists:seq(1, Most div 1_000)], [Bring(Driver, Id, 1_000) || Id <- lists:seq(1, Most div 1_000)]),
    ?assertMatch({failed, 100, {encode, _}, <<_/binary>>}, Bring(Driver, 100, 1_000)),
    %% What nobody answers is dropped, and the connection goes on.
    py_driver:bytes(Driver, framed(<<131, 104, 3, 119, 4, "cast", 119, 6, "nobody", (list(names(driver, 1_000)))/binary>>)),
    ?assertMatch({log, warning, <<"a message was dropped: 1000 atoms", _/binary>>, _}, py_driver:next(Driver)),
    ?assertMatch({result, 101, 2}, Bring(Driver, 101, 2)),
    {_, Other} = connect(driver, Config),
    ?assertEqual({result, 1, 1_000}, Bring(Other, 1, 1_000)),
    [py_driver:close(Each) || Each <- [Driver, Other]].

requests_beyond_the_bound_fail_alone(Config) ->
    {#{open_tasks := Most, open_bytes := Bytes}, Driver} = connect(driver, Config),
    Sleep = {call, timer, sleep, [infinity]},
    Ask = fun(Id, {call, M, F, A}) -> py_driver:send(Driver, {call, Id, M, F, A}) end,
    [Ask(Id, Sleep) || Id <- lists:seq(1, Most)],
    [py_driver:send(Driver, {submit, Id, #{}, py_driver:body(math, sqrt, [4])}) || Id <- [Most + 1]],
    ?assertMatch({failed, _, overload, <<_/binary>>}, py_driver:answer(Driver, Most + 1)),
    Ask(Most + 2, {call, erlang, node, []}),
    ?assertMatch({failed, _, overload, _}, py_driver:answer(Driver, Most + 2)),
    py_driver:send(Driver, {cancel, 1}),
    ?assertMatch({failed, 1, cancelled, _}, py_driver:answer(Driver, 1)),
    Ask(Most + 3, {call, erlang, node, []}),
    [py_driver:send(Driver, {cancel, Id}) || Id <- lists:seq(2, Most)],
    ?assertEqual({result, Most + 3, node()}, py_driver:answer(Driver, Most + 3)),
    py_driver:close(Driver),
    {_, Large} = connect(driver, Config),
    Body = py_driver:body(time, sleep, [30]),
    Filled = iolist_to_binary(py_wire:body('erl.calls.objects', call, [0, len, binary:copy(<<0>>, Bytes div 2), [], []])),
    py_driver:send(Large, {submit, 1, #{}, Body}),
    [py_driver:send(Large, {submit, Id, #{}, Filled}) || Id <- [2, 3, 4, 5]],
    ?assertMatch({failed, 5, overload, _}, py_driver:answer(Large, 5)),
    py_driver:close(Large).

who_does_not_read_is_not_read(Config) ->
    Submit = iolist_to_binary(framed(term_to_binary({submit, 5, #{}, <<>>}))),
    Drop = iolist_to_binary(framed(term_to_binary({drop, 1}))),
    [
        begin
            {_, Driver} = connect(Role, Config),
            Role =:= driver andalso begin_one(Driver),
            Sent = sent_until_full(Driver, binary:copy(Frame, 2_000), 16_000_000),
            ?assert(Sent < 16_000_000, {Role, Sent}),
            %% As soon as it reads it is read again.
            ok = read(Driver, min(Sent div byte_size(Frame), 20_000), Kind),
            reset(Driver)
        end
     || {Role, Frame, Kind} <- [{front, Submit, failed}, {driver, Drop, begun}]
    ].

begin_one(Driver) ->
    py_driver:send(Driver, {submit, 1, #{}, py_driver:body(time, sleep, [30])}),
    py_eventually:equals([1], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end).

%% How many bytes the node has taken, within a second each.
sent_until_full(Driver, Frames, Most) ->
    Test = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> write(Driver, Frames, 0, Most, Test) end),
    taken(Pid, Monitor, 0).

write(Driver, Frames, Sent, Most, Test) when Sent < Most ->
    ok = gen_tcp:send(Driver, Frames),
    Test ! {self(), Sent + byte_size(Frames)},
    write(Driver, Frames, Sent + byte_size(Frames), Most, Test);
write(_Driver, _Frames, _Sent, _Most, _Test) ->
    ok.

%% Who waits in a write goes on as soon as the node reads.
taken(Pid, Monitor, Sent) ->
    receive
        {Pid, More} -> taken(Pid, Monitor, More);
        {'DOWN', Monitor, process, Pid, _} -> Sent
    after 2_000 ->
        exit(Pid, kill),
        demonitor(Monitor, [flush]),
        Sent
    end.

%% As a process that is killed: what it has not written yet nobody waits for.
reset(Driver) ->
    ok = inet:setopts(Driver, [{linger, {true, 0}}]),
    py_driver:close(Driver).

read(_Driver, 0, _Kind) ->
    ok;
read(Driver, Count, Kind) ->
    Kind = element(1, py_driver:next(Driver)),
    read(Driver, Count - 1, Kind).

who_is_killed_while_it_is_not_read_is_forgotten(Config) ->
    {_, Front} = connect(front, Config),
    Frame = iolist_to_binary(framed(term_to_binary({submit, 5, #{}, <<>>}))),
    Sent = sent_until_full(Front, binary:copy(Frame, 2_000), 16_000_000),
    ?assert(Sent < 16_000_000),
    reset(Front),
    py_eventually:equals([], fun py_driver:connected/0).

texts_that_look_like_shared_memory_are_texts(Config) ->
    {_, Driver} = connect(driver, Config),
    Texts = [<<"$py.shm">>, <<"$py.shm 0123456789abcdef-1-99999999999999999">>],
    [
        begin
            py_driver:send(Driver, {submit, Id, #{timeout => 10_000}, py_driver:body(operator, concat, [Text, <<>>])}),
            {done, trusted, {r, _, Value}} = py_driver:answer(Driver, Id),
            ?assertEqual(Text, iolist_to_binary(Value))
        end
     || {Id, Text} <- lists:zip([1, 2], Texts)
    ],
    %% A term that names no file of this driver's is nothing that it holds.
    Forged = {'$py.shm', {node(), <<"0123456789abcdef-1-99999999999999999">>, {0, 5}, bytes}},
    py_driver:send(Driver, {submit, 3, #{timeout => 10_000}, py_driver:body(operator, getitem, [[Forged], 0])}),
    _ = py_driver:answer(Driver, 3),
    py_driver:send(Driver, {submit, 4, #{timeout => 10_000}, py_driver:body(math, sqrt, [4])}),
    ?assertMatch({done, trusted, {r, _, 2.0}}, py_driver:answer(Driver, 4)),
    py_driver:close(Driver).

a_body_that_is_no_call_reaches_no_worker(Config) ->
    {_, Driver} = connect(driver, Config),
    Good = py_driver:body(math, sqrt, [4]),
    <<131, Number/binary>> = term_to_binary(1),
    Bodies = [<<>>, <<"junk">>, binary:part(Good, 0, byte_size(Good) - 1), <<Good/binary, 106>>, <<119, 4, "math", 119, 4, "sqrt">>, <<119, 4, "math", 119, 4, "sqrt", Number/binary>>],
    [
        begin
            py_driver:send(Driver, {submit, Id, #{}, Body}),
            ?assertMatch({Body, {failed, Id, {link, _}, _}}, {Body, py_driver:answer(Driver, Id)})
        end
     || {Id, Body} <- lists:zip(lists:seq(1, length(Bodies)), Bodies)
    ],
    py_driver:send(Driver, {submit, 100, #{}, Good}),
    ?assertMatch({done, trusted, {r, _, 2.0}}, py_driver:answer(Driver, 100)),
    py_driver:close(Driver).
