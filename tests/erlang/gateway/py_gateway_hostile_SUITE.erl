%%% What no driver says, whose socket is none of ours, and who may not connect: refused, hung up on, and the others go on.
-module(py_gateway_hostile_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    garbage_before_hello_is_hung_up_on/1,
    who_says_nothing_is_hung_up_on/1,
    a_hello_makes_no_atom_and_holds_no_handle/1,
    a_frame_may_come_byte_by_byte/1,
    half_a_frame_ends_nothing_but_itself/1,
    a_frame_that_is_too_long_ends_its_connection/1,
    what_is_no_message_ends_its_connection/1,
    an_id_that_is_open_ends_its_connection/1,
    atoms_of_drivers_are_counted/1,
    a_directory_that_others_can_reach_is_refused/1,
    a_directory_of_somebody_else_is_refused/1,
    a_link_in_place_of_the_directory_is_refused/1,
    what_is_no_socket_is_left_alone/1,
    a_socket_of_a_dead_node_is_replaced_and_that_of_one_that_lives_is_not/1,
    of_many_that_start_at_once_one_listens/1,
    a_long_path_is_replaced_by_a_short_one/1,
    a_process_of_another_user_is_hung_up_on/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        garbage_before_hello_is_hung_up_on,
        who_says_nothing_is_hung_up_on,
        a_hello_makes_no_atom_and_holds_no_handle,
        a_frame_may_come_byte_by_byte,
        half_a_frame_ends_nothing_but_itself,
        a_frame_that_is_too_long_ends_its_connection,
        what_is_no_message_ends_its_connection,
        an_id_that_is_open_ends_its_connection,
        atoms_of_drivers_are_counted,
        a_directory_that_others_can_reach_is_refused,
        a_directory_of_somebody_else_is_refused,
        a_link_in_place_of_the_directory_is_refused,
        what_is_no_socket_is_left_alone,
        a_socket_of_a_dead_node_is_replaced_and_that_of_one_that_lives_is_not,
        of_many_that_start_at_once_one_listens,
        a_long_path_is_replaced_by_a_short_one,
        a_process_of_another_user_is_hung_up_on
    ].

init_per_testcase(_Case, Config) -> py_driver:gateway(Config).

%% The gateway serves still, and nobody is connected.
end_per_testcase(_Case, Config) -> py_driver:still_serves(Config).

%%% Bytes

garbage_before_hello_is_hung_up_on(Config) ->
    Http = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    Deep = term_to_binary({hello, 1, #{os_pid => lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, 40_000))}}),
    Frame = fun(Bytes) -> [<<(byte_size(Bytes)):32>>, Bytes] end,
    [
        begin
            Socket = py_driver:connect(?config(path, Config)),
            py_driver:bytes(Socket, Bytes),
            ?assertMatch({Bytes, {refused, _, Text}} when is_binary(Text), {Bytes, py_driver:next(Socket)}),
            ?assert(py_driver:is_closed(Socket))
        end
     || Bytes <- [
            Http,
            <<0:32>>,
            <<16#ffffffff:32, 131>>,
            <<65_537:32, 131, 104>>,
            Frame(<<131>>),
            Frame(<<131, 104, 3>>),
            Frame(term_to_binary(hello)),
            Frame(term_to_binary({hello, 1})),
            Frame(term_to_binary({hello, 1, []})),
            Frame(term_to_binary({hello, one, #{}})),
            Frame(term_to_binary({hello, 2, #{}})),
            Frame(term_to_binary({hello, 1, #{role => king}})),
            Frame(term_to_binary({hello, 1, #{token => tea}})),
            Frame(term_to_binary({hello, 1, #{token => <<"tea">>}})),
            Frame(term_to_binary({call, 1, erlang, halt, []})),
            Frame(term_to_binary({submit, 1, #{}, <<>>})),
            Frame(term_to_binary({hello, 1, #{os_pid => binary:copy(<<0>>, 60_000)}}, [{compressed, 9}])),
            Frame(<<(term_to_binary({hello, 1, #{}}))/binary, 0>>),
            Frame(Deep)
        ]
    ].

who_says_nothing_is_hung_up_on(Config) ->
    Silent = py_driver:connect(?config(path, Config)),
    Half = py_driver:connect(?config(path, Config)),
    py_driver:bytes(Half, <<100:32, 131>>),
    [?assertMatch({refused, timeout, _}, py_driver:next(Each)) || Each <- [Silent, Half]].

a_hello_makes_no_atom_and_holds_no_handle(Config) ->
    New = <<"tea_", (integer_to_binary(erlang:unique_integer([positive])))/binary, "_green">>,
    Hello = fun(Value) ->
        Info = <<116, 1:32, 119, 6, "os_pid", Value/binary>>,
        <<131, 104, 3, 119, 5, "hello", 97, 1, Info/binary>>
    end,
    <<131, Pid/binary>> = term_to_binary(self()),
    <<131, Fun/binary>> = term_to_binary(fun erlang:halt/0),
    [
        begin
            Socket = py_driver:connect(?config(path, Config)),
            Bytes = Hello(Value),
            py_driver:bytes(Socket, [<<(byte_size(Bytes)):32>>, Bytes]),
            ?assertMatch({refused, bad_hello, _}, py_driver:next(Socket))
        end
     || Value <- [<<119, (byte_size(New)), New/binary>>, Pid, Fun]
    ],
    ?assertError(badarg, binary_to_existing_atom(New)).

a_frame_may_come_byte_by_byte(Config) ->
    Socket = py_driver:connect(?config(path, Config)),
    Say = fun(Message) ->
        Bytes = term_to_binary(Message),
        [py_driver:bytes(Socket, <<Byte>>) || <<Byte>> <= <<(byte_size(Bytes)):32, Bytes/binary>>]
    end,
    Say({hello, 1, #{}}),
    {hello, 1, _} = py_driver:next(Socket),
    Say({submit, 1, #{}, py_driver:body(math, sqrt, [4])}),
    ?assertMatch({done, trusted, {r, _, 2.0}}, py_driver:answer(Socket, 1)),
    py_driver:close(Socket).

half_a_frame_ends_nothing_but_itself(Config) ->
    {_, Driver} = py_driver:connect(?config(path, Config), #{}),
    py_driver:send(Driver, {submit, 1, #{}, py_driver:body(time, sleep, [30])}),
    py_driver:bytes(Driver, <<1_000_000:32, 131, 104, 4>>),
    py_driver:close(Driver),
    py_eventually:equals([0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end).

a_frame_that_is_too_long_ends_its_connection(Config) ->
    [
        begin
            {#{packet_bytes := Most}, Driver} = py_driver:connect(?config(path, Config), #{}),
            py_driver:bytes(Driver, <<(Most + 1):32, 131, 104, 4>>),
            ?assertMatch({refused, bad_frame, _}, py_driver:next(Driver)),
            ?assert(py_driver:is_closed(Driver))
        end
     || _ <- [1]
    ].

what_is_no_message_ends_its_connection(Config) ->
    Frame = fun(Bytes) -> [<<(byte_size(Bytes)):32>>, Bytes] end,
    Say = fun(Term) -> Frame(term_to_binary(Term)) end,
    [
        begin
            {_, Driver} = py_driver:connect(?config(path, Config), #{}),
            py_driver:bytes(Driver, Bytes),
            ?assertMatch({Bytes, {refused, Why, _}} when Why =:= bad_message; Why =:= bad_frame, {Bytes, py_driver:next(Driver)}),
            ?assert(py_driver:is_closed(Driver))
        end
     || Bytes <- [
            Say({hello, 1, #{}}),
            Say({tea, 1}),
            Say({}),
            Say(tea),
            Say({submit, 1, #{}}),
            Say({submit, -1, #{}, <<>>}),
            Say({submit, one, #{}, <<>>}),
            Say({submit, 1, [], <<>>}),
            Say({submit, 1, #{}, []}),
            Say({call, 1, "lists", sum, []}),
            Say({call, 1, lists, sum, [a | b]}),
            Say({cast, "to", tea}),
            Say({release, tea}),
            Frame(<<131, 104, 9>>),
            Frame(<<131, 80, 255, 255, 255, 255, 1, 2, 3>>),
            <<3:32, 1, 2, 3>>
        ]
    ].

an_id_that_is_open_ends_its_connection(Config) ->
    Sleep = fun(Id) -> {submit, Id, #{}, py_driver:body(time, sleep, [30])} end,
    [
        begin
            {_, Driver} = py_driver:connect(?config(path, Config), #{}),
            [py_driver:send(Driver, Each) || Each <- [First, Second]],
            ?assertMatch({refused, bad_message, _}, py_driver:next(Driver))
        end
     || {First, Second} <- [{Sleep(1), Sleep(1)}, {Sleep(1), {call, 1, erlang, node, []}}, {{call, 1, timer, sleep, [infinity]}, Sleep(1)}]
    ],
    py_eventually:equals([0], fun() -> [Calls || #{in_flight := Calls} <- py:workers()] end).

atoms_of_drivers_are_counted(Config) ->
    {_, Driver} = py_driver:connect(?config(path, Config), #{}),
    Atoms = << <<119, 12, (list_to_binary(io_lib:format("py_tea_~5..0w", [N])))/binary>> || N <- lists:seq(1, 70_000) >>,
    Before = erlang:system_info(atom_count),
    Message = <<131, 104, 5, 119, 4, "call", 97, 1, 119, 5, "lists", 119, 6, "length", 108, 1:32, 108, 70_000:32, Atoms/binary, 106, 106>>,
    py_driver:bytes(Driver, [<<(byte_size(Message)):32>>, Message]),
    ?assertMatch({failed, 1, {encode, _}, <<_/binary>>}, py_driver:next(Driver)),
    ?assert(erlang:system_info(atom_count) < Before + 1_000),
    py_driver:close(Driver).

%%% Places

a_directory_that_others_can_reach_is_refused(Config) ->
    Directory = filename:join(?config(directory, Config), "open"),
    ok = file:make_dir(Directory),
    [
        begin
            ok = file:change_mode(Directory, Mode),
            refused(filename:join(Directory, "node.sock"), "chmod 700")
        end
     || Mode <- [8#755, 8#710, 8#701, 8#777, 8#1777]
    ],
    ok = file:change_mode(Directory, 8#700),
    %% Closed itself, below one in which everybody may put another in its place.
    Below = filename:join(Directory, "all/own"),
    ok = filelib:ensure_dir(Below),
    ok = file:make_dir(Below),
    ok = file:change_mode(Below, 8#700),
    ok = file:change_mode(filename:dirname(Below), 8#777),
    refused(filename:join(Below, "node.sock"), "can be replaced"),
    ok = file:change_mode(filename:dirname(Below), 8#755),
    {ok, Path} = py:start_gateway(#{path => filename:join(Below, "node.sock")}),
    {ok, #file_info{mode = Mode}} = file:read_link_info(Path),
    ?assertEqual(8#600, Mode band 8#777),
    ok = py:stop_gateway(Path).

refused(Path, Why) ->
    {error, {py, {gateway, Path, Text}}} = py:start_gateway(#{path => Path}),
    ?assertMatch({Text, true}, {Text, string:find(Text, Why) =/= nomatch}),
    ?assertEqual({error, enoent}, file:read_link_info(Path)).

%% Only root can give a directory away.
a_directory_of_somebody_else_is_refused(Config) ->
    case os:cmd("id -u") of
        "0\n" ->
            Directory = filename:join(?config(directory, Config), "theirs"),
            ok = file:make_dir(Directory),
            ok = file:change_mode(Directory, 8#700),
            ok = file:change_owner(Directory, 65_534),
            refused(filename:join(Directory, "node.sock"), "belongs to another user");
        _ ->
            {comment, "not root: there is no directory of somebody else"}
    end.

a_link_in_place_of_the_directory_is_refused(Config) ->
    Directory = filename:join(?config(directory, Config), "own"),
    Link = filename:join(?config(directory, Config), "link"),
    ok = file:make_dir(Directory),
    ok = file:change_mode(Directory, 8#700),
    ok = file:make_symlink(Directory, Link),
    refused(filename:join(Link, "node.sock"), "symbolic link"),
    ok = file:delete(Link),
    ok = file:write_file(Link, "tea"),
    {error, {py, {gateway, _, Text}}} = py:start_gateway(#{path => filename:join(Link, "node.sock")}),
    ?assertNotEqual(nomatch, string:find(Text, "no directory")).

what_is_no_socket_is_left_alone(Config) ->
    Path = filename:join(?config(directory, Config), "other.sock"),
    Make = [
        fun() -> file:write_file(Path, <<"tea">>) end,
        fun() -> file:make_symlink("/tmp/nowhere", Path) end,
        fun() -> file:make_symlink(?config(path, Config), Path) end,
        fun() -> file:make_dir(Path) end
    ],
    [
        begin
            ok = Each(),
            Before = file:read_link_info(Path),
            ?assertMatch({error, {py, {gateway, Path, _}}}, py:start_gateway(#{path => Path})),
            ?assertEqual(Before, file:read_link_info(Path)),
            ok = file:del_dir_r(Path)
        end
     || Each <- Make
    ],
    ?assertEqual(["node.sock"], element(2, file:list_dir_all(?config(directory, Config)))).

a_socket_of_a_dead_node_is_replaced_and_that_of_one_that_lives_is_not(Config) ->
    Path = filename:join(?config(directory, Config), "other.sock"),
    {ok, Socket} = gen_tcp:listen(0, [{ifaddr, {local, Path}}]),
    refused_there(Path, "belongs to a node that runs"),
    ok = gen_tcp:close(Socket),
    {ok, #file_info{type = other}} = file:read_link_info(Path),
    {ok, Path} = py:start_gateway(#{path => Path}),
    py_driver:close(element(2, py_driver:connect(Path, #{}))),
    ok = py:stop_gateway(Path),
    ?assertEqual({error, enoent}, file:read_link_info(Path)).

refused_there(Path, Why) ->
    {error, {py, {gateway, Path, Text}}} = py:start_gateway(#{path => Path}),
    ?assertMatch({Text, true}, {Text, string:find(Text, Why) =/= nomatch}).

of_many_that_start_at_once_one_listens(Config) ->
    [
        begin
            Path = filename:join(?config(directory, Config), "race.sock"),
            {ok, Dead} = gen_tcp:listen(0, [{ifaddr, {local, Path}}]),
            ok = gen_tcp:close(Dead),
            Test = self(),
            Pids = [spawn(fun() -> race(Path, Test) end) || _ <- lists:seq(1, 8)],
            Results = [receive {Pid, Result} -> Result end || Pid <- Pids],
            ?assertMatch([_], [ok || {ok, _, _} <- Results]),
            _ = [Pid ! stop || Pid <- Pids],
            py_eventually:holds(fun() -> not lists:any(fun is_process_alive/1, Pids) end),
            ok = file:delete(Path, [raw]),
            ?assertEqual(["node.sock"], element(2, file:list_dir_all(?config(directory, Config))))
        end
     || _ <- lists:seq(1, 20)
    ].

race(Path, Test) ->
    Result = py_gateway_socket:listen(Path),
    Test ! {self(), Result},
    receive stop -> ok end.

a_long_path_is_replaced_by_a_short_one(Config) ->
    Long = filename:join(?config(directory, Config), lists:duplicate(120, $t)),
    {ok, Path} = py:start_gateway(#{path => Long}),
    ?assertMatch({match, _}, re:run(Path, "^/tmp/erl-py-[0-9]+/[0-9a-f]{16}\\.sock$")),
    py_driver:close(element(2, py_driver:connect(Path, #{}))),
    ok = py:stop_gateway(Long),
    Variables = fun(Runtime, State) -> [{"XDG_RUNTIME_DIR", Runtime}, {"XDG_STATE_HOME", State}] end,
    Auto = fun(Runtime, State) -> py_application:with_environment(Variables(Runtime, State), fun() -> py_gateway_socket:path(auto) end) end,
    ?assertEqual("/run/user/7/erl-py/node.sock", Auto("/run/user/7", "/tea")),
    ?assertEqual("/tea/erl-py/node.sock", Auto("user/7", "/tea")),
    ?assertEqual("/tea/erl-py/node.sock", Auto(false, "/tea")),
    {ok, [[Home]]} = init:get_argument(home),
    ?assertEqual(Home ++ "/.local/state/erl-py/node.sock", Auto(false, false)).

%% Root alone can be somebody else, and make a way for him to the socket.
a_process_of_another_user_is_hung_up_on(Config) ->
    case os:cmd("id -u") of
        "0\n" ->
            Script = filename:join(?config(directory, Config), "other.py"),
            ok = file:write_file(Script, [
                "import os, socket, sys\n"
                "s = socket.socket(socket.AF_UNIX)\n"
                "os.chdir(sys.argv[1])\n"
                "os.setgid(65534)\n"
                "os.setuid(65534)\n"
                "s.connect('node.sock')\n"
                "print(repr(s.recv(100)))\n"
            ]),
            ok = file:change_mode(?config(path, Config), 8#666),
            ok = file:change_mode(?config(directory, Config), 8#711),
            Said = os:cmd(lists:concat(["python3 ", Script, " ", ?config(directory, Config)])),
            ?assertEqual("b''\n", Said);
        _ ->
            {comment, "not root: nobody else can connect"}
    end.
