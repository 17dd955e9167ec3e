%%% @doc What a run of a function has in a box: the function, the inputs and what is in them go with the call, as a box reads no file of the node's; what it
%%% keeps comes with the answer, is looked at here, and is written by this node's hand.
%%%
%%% ```
%%%   given     #{run, project, entities => [{Project, Type, Name, Id, Text, Content}]}      Content: [], {file, Bytes}, {folder, [{Path, Bytes}]}
%%%   kept      [{Type, Name, Id, Text, Content}]                                            of the run's project, whatever its text says
%%%   runs/<id>/kept      which those are, before they appear: an attempt that was lost in between leaves none
%%% '''
%%% @private
-module(py_run_box).

-include_lib("kernel/include/file.hrl").

-export([given/3, keep/4]).

-type content() :: [] | {file, {bytes, binary()}} | {folder, [{{bytes, binary()}, {bytes, binary()}}]}.

-define(MOST_BYTES, 16#8000000).
-define(MOST_FILES, 10_000).
-define(MOST_KEPT, 1_000).
-define(MOST_PATH_BYTES, 1_000).
%% A function is code that runs outside of the box, too.
-define(TYPES, [<<"artifact">>, <<"dataitem">>, <<"model">>]).
-define(KEY, "\\Astore://([^/]+)/([^/]+)/[^/]+/([^/:]+)(?::([^/:]+))?\\z").

%% @doc What goes with the call of a run; nothing for one that is no function's. The error says what can't.
-spec given(py_run_state:id(), Project :: binary(), py_wire:kept()) -> {ok, #{} | #{box := map()}} | {error, string()}.
given(Id, Project, Kept) ->
    case py_send:kept_terms(Kept) of
        ['erl.functions.job', run, [{bytes, _}, {bytes, Needs}], _] ->
            case entities(binary:split(Needs, <<"\n">>, [global, trim_all]), ?MOST_BYTES, []) of
                {ok, Entities} -> {ok, #{box => #{run => {bytes, Id}, project => {bytes, Project}, entities => Entities}}};
                {error, _} = Error -> Error
            end;
        _ ->
            {ok, #{}}
    end.

entities([], _Left, Found) ->
    {ok, lists:reverse(Found)};
entities([Key | Keys], Left, Found) ->
    case entity(Key, Left) of
        {ok, Entity, Rest} -> entities(Keys, Rest, [Entity | Found]);
        %% Python says so, with the argument's name.
        unknown -> entities(Keys, Left, Found);
        {error, Why} -> {error, lists:flatten(["a box can't have ", unicode:characters_to_list(Key), ": ", Why])}
    end.

entity(Key, Left) ->
    case re:run(Key, ?KEY, [{capture, all_but_first, binary}]) of
        {match, [Project, Type, Name | Id]} ->
            case py_entity_store:get(Project, Type, Name, iolist_to_binary(Id)) of
                {ok, {Found, Text, Path}} -> with_content([{bytes, Part} || Part <- [Project, Type, Name, Found, Text]], Path, Left);
                {error, {py, {unknown_entity, _}}} -> unknown;
                {error, Error} -> {error, py_error:text(Error)}
            end;
        nomatch ->
            unknown
    end.

with_content(Said, Path, Left) ->
    try content(Path, Left) of
        {Content, Rest} -> {ok, list_to_tuple(Said ++ [Content]), Rest}
    catch
        throw:too_much -> {error, "a run is given at most 128 MiB and 10,000 files with its call; volumes hold more"};
        throw:{unreadable, Reason} -> {error, file:format_error(Reason)}
    end.

-spec content(binary(), integer()) -> {content(), integer()}.
content(Path, Left) ->
    case file:read_link_info(Path, [raw]) of
        {ok, #file_info{type = regular, size = Size}} ->
            {Bytes, Rest} = bytes(Path, Size, Left),
            {{file, {bytes, Bytes}}, Rest};
        {ok, #file_info{type = directory}} ->
            {Files, Rest} = files([<<>>], Path, {Left, ?MOST_FILES}, []),
            {{folder, Files}, Rest};
        _ ->
            {[], Left}
    end.

files([], _Top, {Left, _}, Found) ->
    {lists:reverse(Found), Left};
files(_, _Top, {_, 0}, _Found) ->
    throw(too_much);
files([Relative | Others], Top, {Left, Count}, Found) ->
    Path = <<Top/binary, $/, Relative/binary>>,
    case file:read_link_info(Path, [raw]) of
        {ok, #file_info{type = directory}} ->
            {ok, Names} = read(file:list_dir(Path)),
            Below = if Relative =:= <<>> -> <<>>; true -> <<Relative/binary, $/>> end,
            files([<<Below/binary, (py_store:bytes(Name))/binary>> || Name <- lists:sort(Names)] ++ Others, Top, {Left, Count - 1}, Found);
        {ok, #file_info{type = regular, size = Size}} ->
            {Bytes, Rest} = bytes(Path, Size, Left),
            files(Others, Top, {Rest, Count - 1}, [{{bytes, Relative}, {bytes, Bytes}} | Found]);
        _ ->
            files(Others, Top, {Left, Count - 1}, Found)
    end.

bytes(_Path, Size, Left) when Size > Left -> throw(too_much);
bytes(Path, Size, Left) ->
    {ok, Bytes} = read(file:read_file(Path)),
    {Bytes, Left - Size}.

read({error, Reason}) -> throw({unreadable, Reason});
read(Read) -> Read.

%%% What comes from the box

%% @doc Have what an attempt has kept appear, in the place of what one before has. It is believed nothing: the error says what it can't be.
-spec keep(file:filename_all(), py_run_state:id(), Project :: binary(), Kept :: term()) -> ok | {error, string()}.
keep(Runs, Id, Project, Kept) ->
    case checked(Kept) of
        {ok, Entities} ->
            lists:foreach(fun({Type, Name, Own}) -> py_entity_store:delete(Project, Type, Name, Own) end, py_run_files:kept(Runs, Id)),
            Names = [{Type, Name, Own} || {Type, Name, Own, _, _} <- Entities],
            case Entities =:= [] orelse py_run_files:write_kept(Runs, Id, Names) of
                {error, Reason} -> {error, file:format_error(Reason)};
                _ -> put_all(Entities, Project, [])
            end;
        error ->
            {error, "what the box has kept is none of an artifact, a data item or a model with a name, an id, a text and a content, 1,000 and 128 MiB at most"}
    end.

put_all([], _Project, _Done) ->
    ok;
put_all([{Type, Name, Id, Text, Content} | Entities], Project, Done) ->
    case put_one({Project, Type, Name, Id}, Text, Content) of
        ok ->
            put_all(Entities, Project, [{Type, Name, Id} | Done]);
        {error, Reason} ->
            lists:foreach(fun({OfType, Of, Own}) -> py_entity_store:delete(Project, OfType, Of, Own) end, Done),
            {error, lists:flatten(py_error:text(Reason))}
    end.

put_one({Project, Type, Name, Id}, Text, Content) ->
    case py_entity_store:place() of
        {ok, Place} ->
            case py_entity_files:write(Place, Content) of
                {ok, Incoming} ->
                    Put = py_entity_store:put(Project, Type, Name, Id, Text, Incoming),
                    _ = Incoming =:= <<>> orelse py_directory:delete(filename:join(Place, Incoming)),
                    Put;
                {error, Reason} ->
                    py_store:unusable(Place, Reason)
            end;
        {error, _} = Error ->
            Error
    end.

checked(Kept) when is_list(Kept), length(Kept) =< ?MOST_KEPT ->
    Checked = [entity_of(Each) || Each <- Kept],
    Bytes = lists:sum([size_of(Content) || {_, _, _, _, Content} <- Checked]),
    Files = lists:sum([length(Some) || {_, _, _, _, {folder, Some}} <- Checked]),
    case lists:member(error, Checked) orelse Bytes > ?MOST_BYTES orelse Files > ?MOST_FILES of
        true -> error;
        false -> {ok, Checked}
    end;
checked(_) ->
    error.

entity_of({Type, Name, Id, Text, Content}) when is_binary(Text) ->
    case lists:member(Type, ?TYPES) andalso py_store:is_name(Name) andalso py_store:is_name(Id) andalso content_of(Content) of
        {ok, Checked} -> {Type, Name, Id, Text, Checked};
        _ -> error
    end;
entity_of(_) ->
    error.

content_of([]) ->
    {ok, []};
content_of(Bytes) when is_binary(Bytes) ->
    {ok, {file, Bytes}};
content_of({Files}) when is_list(Files), length(Files) =< ?MOST_FILES ->
    case lists:all(fun is_file/1, Files) of
        true -> {ok, {folder, Files}};
        false -> error
    end;
content_of(_) ->
    error.

is_file({Path, Bytes}) when is_binary(Path), is_binary(Bytes), byte_size(Path) =< ?MOST_PATH_BYTES ->
    binary:match(Path, <<0>>) =:= nomatch
        andalso lists:all(fun(Part) -> Part =/= <<>> andalso Part =/= <<".">> andalso Part =/= <<"..">> andalso byte_size(Part) < 256 end, binary:split(Path, <<"/">>, [global]));
is_file(_) ->
    false.

size_of({file, Bytes}) -> byte_size(Bytes);
size_of({folder, Files}) -> lists:sum([byte_size(Bytes) || {_, Bytes} <- Files]);
size_of([]) -> 0.
