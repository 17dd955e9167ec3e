%%% @doc What runs in a box, as the machine's `/proc' has it: its processes, and how much memory they hold.
%%% @private
-module(py_sandbox_processes).

-export([children/1, all/1, held_bytes/1, exactly_held_bytes/1]).

%% @doc The processes that this one has started and that have not ended.
-spec children(OsPid :: non_neg_integer()) -> [OsPid :: non_neg_integer()].
children(OsPid) ->
    Number = integer_to_list(OsPid),
    case file:read_file(["/proc/", Number, "/task/", Number, "/children"]) of
        {ok, Text} -> [binary_to_integer(Child) || Child <- string:lexemes(Text, " \n")];
        {error, _} -> []
    end.

%% @doc All processes of a box, by the number of the program that made it.
-spec all(OsPid :: non_neg_integer()) -> [OsPid :: non_neg_integer()].
all(OsPid) ->
    Children = children(OsPid),
    Children ++ lists:append([all(Child) || Child <- Children]).

%% @doc How much memory of their own the processes of a box have together, at most: pages that several of them share are
%% counted for each. {@link exactly_held_bytes/1} takes its time and counts them once.
-spec held_bytes(OsPid :: non_neg_integer()) -> non_neg_integer().
held_bytes(OsPid) -> kilobytes(OsPid, "status", "(?:RssAnon|RssShmem):\\s+(\\d+)") * 1_024.

%% @doc The same, counted once.
-spec exactly_held_bytes(OsPid :: non_neg_integer()) -> non_neg_integer().
exactly_held_bytes(OsPid) -> kilobytes(OsPid, "smaps_rollup", "(?:Pss_Anon|Pss_Shmem|SwapPss):\\s+(\\d+)") * 1_024.

kilobytes(OsPid, File, Pattern) ->
    lists:sum([
        binary_to_integer(Number)
     || Pid <- all(OsPid),
        {ok, Text} <- [file:read_file(["/proc/", integer_to_list(Pid), "/", File])],
        {match, Found} <- [re:run(Text, Pattern, [global, {capture, all_but_first, binary}])],
        [Number] <- Found
    ]).
