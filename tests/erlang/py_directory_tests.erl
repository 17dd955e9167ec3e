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
            {foreign, ["notes"]}
        ]
    ],
    try
        [ok = filelib:ensure_dir(filename:join(Each, "file")) || {_, Each} <- Beside],
        ok = py_directory:new(),
        Left = [Of || {Of, Each} <- Beside, filelib:is_dir(Each)],
        case filelib:is_dir("/proc/self") of
            true -> ?assertEqual([alive, elsewhere, foreign], Left);
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
