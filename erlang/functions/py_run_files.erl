%%% @doc The files of a run, `<state_dir>/runs/<id>/': a large call, its result, its log.
%%%
%%% ```
%%%   call      a call that is too large for the journal, as the external format has it
%%%   result    "py run 1\n", <<Attempt:32, Crc:32>>, the frame of an answer; Python writes it (`erl.calls.runs')
%%%   kept      which entities an attempt in a box has kept
%%%   log       what the attempts have printed and logged; of a service the newest of it, with what comes before in `log.1'
%%% '''
%%% @private
-module(py_run_files).

-export([directory/2, ensure/1, write_call/3, read_call/2, write_result/4, result/3, write_kept/3, kept/2, add_to_log/3, log/2, log_end/3, delete/2, sweep/2]).

-define(HEAD, "py run 1\n").
-define(MOST_LOG_BYTES, 16#1100000).

%% @doc Where they lie: below the directory of all runs.
-spec directory(file:filename_all(), py_run_state:id()) -> binary().
directory(Runs, Id) -> py_store:bytes(filename:join(Runs, Id)).

%% @doc Make the directory of all runs.
-spec ensure(file:filename_all()) -> ok | {error, file:posix()}.
ensure(Runs) -> py_store:ensure(Runs).

%% @doc Keep a call.
-spec write_call(file:filename_all(), py_run_state:id(), term()) -> ok | {error, file:posix()}.
write_call(Runs, Id, Call) ->
    Directory = directory(Runs, Id),
    case py_store:ensure(Directory) of
        ok -> py_store:write(filename:join(Directory, <<"call">>), term_to_binary(Call));
        Error -> Error
    end.

-spec read_call(file:filename_all(), py_run_state:id()) -> {ok, term()} | {error, term()}.
read_call(Runs, Id) ->
    case file:read_file(filename:join(directory(Runs, Id), <<"call">>)) of
        {ok, Bytes} ->
            try {ok, binary_to_term(Bytes, [safe])}
            catch error:badarg -> {error, unreadable}
            end;
        Error -> Error
    end.

%% @doc Write the result of an attempt that has no files, as in a box.
-spec write_result(file:filename_all(), py_run_state:id(), Attempt :: pos_integer(), binary()) -> ok | {error, file:posix()}.
write_result(Runs, Id, Attempt, Frame) ->
    Directory = directory(Runs, Id),
    case py_store:ensure(Directory) of
        ok -> py_store:write(filename:join(Directory, <<"result">>), [<<?HEAD, Attempt:32, (erlang:crc32(Frame)):32>>, Frame]);
        Error -> Error
    end.

%% @doc The frame that an attempt has left; `none' where there is none that is whole.
-spec result(file:filename_all(), py_run_state:id(), Attempt :: pos_integer() | any) -> {ok, binary()} | none.
result(Runs, Id, Attempt) ->
    case file:read_file(filename:join(directory(Runs, Id), <<"result">>)) of
        {ok, <<?HEAD, Of:32, Crc:32, Frame/binary>>} when Attempt =:= any; Of =:= Attempt ->
            case erlang:crc32(Frame) of
                Crc -> {ok, Frame};
                _ -> none
            end;
        _ ->
            none
    end.

%% @doc Write down which entities are to appear that an attempt in a box has kept.
-spec write_kept(file:filename_all(), py_run_state:id(), [{binary(), binary(), binary()}]) -> ok | {error, file:posix()}.
write_kept(Runs, Id, Kept) ->
    Directory = directory(Runs, Id),
    case py_store:ensure(Directory) of
        ok -> py_store:write(filename:join(Directory, <<"kept">>), term_to_binary(Kept));
        Error -> Error
    end.

%% @doc Which those are, of an attempt before: type, name and id.
-spec kept(file:filename_all(), py_run_state:id()) -> [{binary(), binary(), binary()}].
kept(Runs, Id) ->
    case file:read_file(filename:join(directory(Runs, Id), <<"kept">>)) of
        {ok, Bytes} ->
            try binary_to_term(Bytes, [safe])
            catch error:badarg -> []
            end;
        {error, _} -> []
    end.

%% @doc Add what Python could not say itself.
-spec add_to_log(file:filename_all(), py_run_state:id(), unicode:chardata()) -> ok.
add_to_log(Runs, Id, Text) ->
    Directory = directory(Runs, Id),
    _ = py_store:ensure(Directory),
    File = filename:join(Directory, <<"log">>),
    _ = filelib:file_size(File) < ?MOST_LOG_BYTES andalso file:write_file(File, py_reason:utf8(Text), [append]),
    ok.

-spec log(file:filename_all(), py_run_state:id()) -> binary().
log(Runs, Id) ->
    %% A service's is put aside when it is full.
    Read = [file:read_file(filename:join(directory(Runs, Id), Name)) || Name <- [<<"log.1">>, <<"log">>]],
    iolist_to_binary([Text || {ok, Text} <- Read]).

%% @doc The last bytes of it, at most so many, and how many there are of it.
-spec log_end(file:filename_all(), py_run_state:id(), MostBytes :: pos_integer()) -> {binary(), Bytes :: non_neg_integer()}.
log_end(Runs, Id, Most) ->
    File = filename:join(directory(Runs, Id), <<"log">>),
    Size = filelib:file_size(File),
    case file:open(File, [read, raw, binary]) of
        {ok, Opened} ->
            Read = file:pread(Opened, max(0, Size - Most), Most),
            _ = file:close(Opened),
            case Read of
                {ok, Text} -> {Text, Size};
                _ -> {<<>>, 0}
            end;
        {error, _} ->
            {<<>>, 0}
    end.

-spec delete(file:filename_all(), py_run_state:id()) -> ok.
delete(Runs, Id) -> py_directory:delete(directory(Runs, Id)).

is_id(Name) -> length(Name) =:= 32 andalso lists:all(fun(C) -> C >= $0 andalso C =< $9 orelse C >= $a andalso C =< $f end, Name).

%% @doc Delete the files of runs that are not known.
-spec sweep(file:filename_all(), fun((py_run_state:id()) -> boolean())) -> ok.
sweep(Runs, IsKnown) ->
    case file:list_dir(Runs) of
        {ok, Names} -> lists:foreach(fun(Id) -> IsKnown(Id) orelse delete(Runs, Id) end, [list_to_binary(Name) || Name <- Names, is_id(Name)]);
        {error, _} -> ok
    end.
