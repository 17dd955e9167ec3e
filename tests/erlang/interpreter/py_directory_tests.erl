%%% What the next start takes away of the directories beside its own.
-module(py_directory_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NOBODY, "4194305").
%% One above the largest number that Linux gives to a process.

only_what_a_dead_process_of_this_namespace_has_left_is_taken_away_test() ->
    ok = py_directory:new(),
    Path = filename:dirname(py_directory:path("any")),
    Root = filename:dirname(Path),
    ["erl", "py", OsPid, Began, Namespace, _Random] = string:split(filename:basename(Path), "-", all),
    ?assertEqual(os:getpid(), OsPid),
    Beside = [
        {Of, filename:join(Root, lists:flatten(lists:join("-", ["erl", "py" | Name])))}
     || {Of, Name} <- [
            {dead, [?NOBODY, Began, Namespace, "00"]},
            %% Another process has its number now.
            {dead, [OsPid, Began ++ "0", Namespace, "00"]},
            {alive, [OsPid, Began, Namespace, "00"]},
            %% What the number means there, nobody knows here.
            {elsewhere, [?NOBODY, Began, Namespace ++ "0", "00"]},
            {foreign, ["notes"]},
            %% Names that others may choose.
            {odd, ["", "x", Namespace, "y"]},
            {odd, ["..", Began, Namespace, "00"]},
            {odd, ["self", Began, Namespace, "00"]},
            {odd, [?NOBODY, Began, Namespace, "00\n"]},
            {odd, [?NOBODY, Began, Namespace, "00", "00"]},
            {odd, [?NOBODY, Began, Namespace, lists:duplicate(150, $0)]},
            {odd, [lists:duplicate(150, $9), Began, Namespace, "00"]},
            {odd, [?NOBODY, "\x{e9}", Namespace, "00"]}
        ]
    ],
    try
        [made(Each, 8#700) || {_, Each} <- Beside],
        ok = py_directory:new(),
        Left = [Of || {Of, Each} <- Beside, filelib:is_dir(Each)],
        case filelib:is_dir("/proc/self") of
            true -> ?assertEqual([alive, elsewhere, foreign | lists:duplicate(8, odd)], Left);
            false -> ?assertEqual(length(Beside), length(Left))
        end,
        ?assertNot(filelib:is_dir(Path))
    after
        [file:del_dir_r(Each) || {_, Each} <- Beside],
        py_directory:delete()
    end.

a_directory_s_name_leaves_room_for_that_of_a_socket_test() ->
    ok = py_directory:new(),
    ?assert(length(filename:dirname(py_directory:path("any"))) < 80),
    py_directory:delete().

a_run_is_over_when_its_process_is_another_one_test_() ->
    [Began, Namespace] = string:split(py_directory:run(), "-"),
    IsLinux = filelib:is_dir("/proc/self"),
    [
        ?_assertEqual(Expected, py_directory:is_over(OsPid, Run))
     || {Expected, OsPid, Run} <- [
            {false, os:getpid(), py_directory:run()},
            {IsLinux, os:getpid(), Began ++ "0-" ++ Namespace},
            {IsLinux, ?NOBODY, py_directory:run()},
            {false, ?NOBODY, Began ++ "-" ++ Namespace ++ "0"},
            {false, ?NOBODY, ""}, {false, "", py_directory:run()}, {false, "..", py_directory:run()},
            {false, ?NOBODY, "<no value>"}, {false, "self", py_directory:run()}
        ]
    ].

made(Path, Mode) ->
    ok = filelib:ensure_dir(filename:join(Path, "file")),
    ok = file:change_mode(Path, Mode).

%% A dead process's directory that lets others in, a link to one, and a file are not what this application has left.
only_directories_that_let_nobody_in_are_taken_away_test() ->
    ok = py_directory:new(),
    Path = filename:dirname(py_directory:path("any")),
    ["erl", "py", _, Began, Namespace, _] = string:split(filename:basename(Path), "-", all),
    Beside = fun(Random) ->
        filename:join(filename:dirname(Path), lists:flatten(lists:join("-", ["erl", "py", ?NOBODY, Began, Namespace, Random])))
    end,
    [Open, Link, File, Target, Full] = Paths = [Beside(Random) || Random <- ["01", "02", "03", "zz", "05"]],
    try
        made(Open, 8#750),
        made(Target, 8#700),
        ok = file:write_file(filename:join(Target, "file"), "kept"),
        ok = file:make_symlink(Target, Link),
        ok = file:write_file(File, ""),
        full(Full, Target),
        ok = py_directory:new(),
        ?assert(filelib:is_dir(Open)),
        ?assertMatch({ok, _}, file:read_link(Link)),
        ?assert(filelib:is_regular(File)),
        ?assertEqual({ok, <<"kept">>}, file:read_file(filename:join(Target, "file"))),
        %% Of its own it takes all, whatever that is, and nothing behind a link.
        filelib:is_dir("/proc/self") andalso ?assertNot(filelib:is_dir(Full))
    after
        [py_directory:delete(Each) || Each <- Paths],
        py_directory:delete()
    end.

%% Links, names that are no text or long, a pipe, a socket, a directory without rights, another that is deep.
full(Path, Target) ->
    made(Path, 8#700),
    ok = file:make_symlink(Target, filename:join(Path, "link")),
    ok = file:make_link(filename:join(Target, "file"), filename:join(Path, "hard")),
    ok = file:write_file(filename:join(Path, "line\nbreak"), ""),
    ok = file:write_file(filename:join(Path, <<255, 254>>), ""),
    ok = file:write_file(filename:join(Path, lists:duplicate(250, $x)), ""),
    _ = os:cmd("mkfifo " ++ filename:join(Path, "pipe")),
    {ok, Socket} = gen_tcp:listen(0, [{ifaddr, {local, filename:join(Path, "s")}}]),
    ok = gen_tcp:close(Socket),
    Deep = filename:join([Path | lists:duplicate(20, "deep")]),
    ok = filelib:ensure_dir(filename:join(Deep, "file")),
    ok = file:make_symlink("/", filename:join(Deep, "root")),
    ok = file:make_dir(filename:join(Path, "closed")),
    ok = file:write_file(filename:join([Path, "closed", "file"]), ""),
    ok = file:change_mode(filename:join(Path, "closed"), 0).

a_place_is_safe_where_nobody_can_put_another_test_() ->
    {setup, fun safe_and_unsafe/0, fun({Root, _}) -> file:del_dir_r(Root) end, fun({Root, User}) ->
        [
            {Path, ?_assertEqual(Expected, py_directory:is_safe(filename:join(Root, Path), User))}
         || {Path, Expected} <- [
                {"sticky", true}, {"own", true}, {"open", false}, {"open/own", false}, {"to-own", true}, {"to-open", false},
                {"loop", false}, {"own/../open", false}, {"nothing", false}, {"file", false}
            ]
        ] ++ [?_assertNot(py_directory:is_safe(filename:join(Root, "own"), User + 1)) || User =/= 0]
    end}.

safe_and_unsafe() ->
    Root = filename:join("/tmp", "py-safe-" ++ integer_to_list(erlang:unique_integer([positive])) ++ os:getpid()),
    Of = fun(Name) -> filename:join(Root, Name) end,
    [made(Of(Name), Mode) || {Name, Mode} <- [{"own", 8#700}, {"open/own", 8#700}, {"open", 8#777}, {"sticky", 8#777}]],
    %% Which `file:change_mode/2' does not set.
    "" = os:cmd("chmod +t " ++ Of("sticky")),
    ok = file:write_file(Of("file"), ""),
    [ok = file:make_symlink(Target, Of(Name)) || {Name, Target} <- [{"to-own", "own"}, {"to-open", "open"}, {"loop", "loop"}]],
    {ok, Info} = file:read_link_info(Of("own")),
    {Root, element(13, Info)}.
